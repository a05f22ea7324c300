import { statusPane } from "../explorer/status";
import { classesPane } from "../occluder/classes";
import { controlsPane } from "../occluder/controls";
import { picturePane } from "../occluder/picture";
import { linkOccluder } from "../occluder/requests";
import { type Instrument, pane, pictureHeading, saved, widget } from "../widget";

const occluder: Instrument = {
  name: "occluder",
  link: linkOccluder,
  mount: (session, root, signal) => {
    const picture = pane(root, "picture");
    pictureHeading(session, picture, signal);
    picturePane(session.store, picture, signal);
    controlsPane(session, picture, signal);
    classesPane(session.store, pane(root, "classes"), signal);
    statusPane(session, pane(root, "status"), signal);
  },
};

export default widget(occluder);
export const showSaved = saved(occluder);
