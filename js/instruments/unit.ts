import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { networkSlice } from "../panes/shared/network";
import { selectionSlice } from "../panes/shared/selection";
import { surveySlice, surveyWork } from "../panes/shared/survey";
import { statusPane } from "../panes/status/status";
import { linkUnit } from "../panes/unit/requests";
import { unitSlice } from "../panes/unit/state";
import { unitPane } from "../panes/unit/unit";

const { widget, showSaved } = instrument({
  name: "unit",
  slices: [networkSlice, surveySlice, selectionSlice, unitSlice],
  link: linkUnit,
  mount: (view, root) => {
    unitPane(view, pane(root, "unit"), { charted: true });
    statusPane(view, pane(root, "status"), surveyWork(view));
  },
});

export { showSaved, widget as default };
