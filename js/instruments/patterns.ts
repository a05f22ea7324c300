import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { patternsSlice } from "../panes/patterns/state";
import { patternsPane } from "../panes/patterns/table";
import { networkSlice } from "../panes/shared/network";

const { widget, showSaved } = instrument({
  name: "patterns",
  slices: [networkSlice, patternsSlice],
  link: () => {},
  mount: (view, root) => patternsPane(view, pane(root, "patterns")),
});

export { showSaved, widget as default };
