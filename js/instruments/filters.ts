import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { gridPane } from "../panes/grid/grid";
import { linkGrid } from "../panes/grid/requests";
import { gridSlice } from "../panes/grid/state";
import { networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { selectionSlice } from "../panes/shared/selection";
import { surveySlice } from "../panes/shared/survey";

const { widget, showSaved } = instrument({
  name: "filters",
  slices: [networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice],
  link: linkGrid,
  mount: (view, root) => gridPane(view, pane(root, "grid")),
});

export { showSaved, widget as default };
