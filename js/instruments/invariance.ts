import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { curvesPane } from "../panes/invariance/curves";
import { consistencyList, layerList } from "../panes/invariance/numbers";
import { movedPicture } from "../panes/invariance/picture";
import { linkInvariance } from "../panes/invariance/requests";
import { invarianceSlice } from "../panes/invariance/state";
import { invarianceTools, invarianceWork } from "../panes/invariance/tools";
import { networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { statusPane } from "../panes/status/status";
import { stripSlice } from "../panes/strip/state";
import { stripPane } from "../panes/strip/strip";

const { widget, showSaved } = instrument({
  name: "invariance",
  slices: [networkSlice, picturesSlice, stripSlice, invarianceSlice],
  link: linkInvariance,
  mount: (view, root) => {
    invarianceTools(view, pane(root, "tools"));
    movedPicture(view, pane(root, "picture"));
    const numbers = pane(root, "numbers");
    stripPane(view, numbers, root);
    layerList(view, numbers);
    consistencyList(view, numbers);
    curvesPane(view, pane(root, "curves"));
    statusPane(view, pane(root, "status"), invarianceWork(view));
  },
});

export { showSaved, widget as default };
