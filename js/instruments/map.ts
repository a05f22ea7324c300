import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { mapsPane } from "../panes/map/maps";
import { linkMaps, mapWork } from "../panes/map/requests";
import { mapSlice } from "../panes/map/state";
import { mapToolsPane } from "../panes/map/tools";
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
  name: "map",
  slices: [networkSlice, picturesSlice, occluderSlice, mapSlice],
  link: (session) => {
    linkOccluder(session);
    linkMaps(session);
  },
  mount: (view, root) => {
    const picture = pane(root, "picture");
    pictureHeading(view, picture);
    picturePane(view, picture);
    controlsPane(view, picture);
    classesPane(view, pane(root, "classes"));
    const maps = pane(root, "maps");
    mapToolsPane(view, maps);
    mapsPane(view, maps);
    statusPane(view, pane(root, "status"), mapWork(view));
  },
});

export { showSaved, widget as default };
