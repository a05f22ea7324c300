import { instrument } from "../host/widget";
import { errorsOf, pane } from "../lib/dom";
import { curvesPane } from "../panes/evolution/curves";
import { evolutionPane } from "../panes/evolution/evolution";
import { evolutionHead, evolutionWork } from "../panes/evolution/head";
import { explorerLine, momentLine } from "../panes/evolution/opens";
import { linkEvolution } from "../panes/evolution/requests";
import { evolutionSlice } from "../panes/evolution/state";
import { ribbonPane } from "../panes/ribbon/ribbon";
import { networkSlice } from "../panes/shared/network";
import { selectionSlice } from "../panes/shared/selection";
import { surveySlice } from "../panes/shared/survey";
import { statusPane } from "../panes/status/status";
import { linkUnit } from "../panes/unit/requests";
import { unitSlice } from "../panes/unit/state";
import { unitPane } from "../panes/unit/unit";

const { widget, showSaved } = instrument({
  name: "evolution",
  slices: [networkSlice, surveySlice, selectionSlice, unitSlice, evolutionSlice],
  link: (session) => {
    linkEvolution(session);
    linkUnit(session);
  },
  mount: (view, root) => {
    ribbonPane(view, pane(root, "ribbon"));
    const cells = pane(root, "cells");
    evolutionHead(view, cells);
    cells.append(errorsOf("winners cells"));
    evolutionPane(view, cells);
    const unit = pane(root, "unit");
    momentLine(view, unit);
    unitPane(view, unit);
    explorerLine(view, unit);
    statusPane(view, pane(root, "status"), evolutionWork(view));
    curvesPane(view, pane(root, "curves"));
  },
});

export { showSaved, widget as default };
