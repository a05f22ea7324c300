import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { healthSlice } from "../panes/health/state";
import { healthPane, linkHealth } from "../panes/health/table";
import { networkSlice } from "../panes/shared/network";
import { surveySlice, surveyWork } from "../panes/shared/survey";
import { statusPane } from "../panes/status/status";

const { widget, showSaved } = instrument({
  name: "health",
  slices: [networkSlice, surveySlice, healthSlice],
  link: linkHealth,
  mount: (view, root) => {
    healthPane(view, pane(root, "health"));
    statusPane(view, pane(root, "status"), surveyWork(view));
  },
});

export { showSaved, widget as default };
