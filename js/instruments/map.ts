import { statusPane } from "../explorer/status";
import { mapsPane } from "../map/panels";
import { linkMaps } from "../map/requests";
import { mapToolsPane } from "../map/tools";
import { classesPane } from "../occluder/classes";
import { controlsPane } from "../occluder/controls";
import { picturePane } from "../occluder/picture";
import { linkOccluder } from "../occluder/requests";
import { type Instrument, pane, pictureHeading, saved, widget } from "../widget";

const map: Instrument = {
  name: "map",
  link: (session) => {
    linkOccluder(session);
    linkMaps(session);
  },
  mount: (session, root, signal) => {
    const picture = pane(root, "picture");
    pictureHeading(session, picture, signal);
    picturePane(session.store, picture, signal);
    controlsPane(session, picture, signal);
    const maps = pane(root, "maps");
    mapToolsPane(session, maps, signal);
    mapsPane(session, maps, signal);
    classesPane(session.store, pane(root, "classes"), signal);
    statusPane(session, pane(root, "status"), signal);
  },
};

export default widget(map);
export const showSaved = saved(map);
