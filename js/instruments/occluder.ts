import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { classesPane } from "../panes/occluder/classes";
import { controlsPane } from "../panes/occluder/controls";
import { pictureHeading } from "../panes/occluder/heading";
import { picturePane } from "../panes/occluder/picture";
import { linkOccluder } from "../panes/occluder/requests";
import { occluderSlice } from "../panes/occluder/state";
import { networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { statusPane } from "../panes/status/status";

const { widget, showSaved } = instrument({
  name: "occluder",
  slices: [networkSlice, picturesSlice, occluderSlice],
  link: linkOccluder,
  mount: (view, root) => {
    const picture = pane(root, "picture");
    pictureHeading(view, picture);
    picturePane(view, picture);
    controlsPane(view, picture);
    classesPane(view, pane(root, "classes"));
    statusPane(view, pane(root, "status"));
  },
});

export { showSaved, widget as default };
