import { statusPane } from "../explorer/status";
import { linkGallery } from "../gallery/requests";
import { tablePane } from "../gallery/table";
import { galleryToolsPane, notesPane, refusedPane } from "../gallery/tools";
import { type Instrument, pane, saved, widget } from "../widget";

const gallery: Instrument = {
  name: "gallery",
  link: linkGallery,
  mount: (session, root, signal) => {
    galleryToolsPane(session, pane(root, "tools"), signal);
    tablePane(session, pane(root, "table"), signal);
    refusedPane(session, pane(root, "refused"), signal);
    notesPane(session, pane(root, "notes"), signal);
    statusPane(session, pane(root, "status"), signal);
  },
};

export default widget(gallery);
export const showSaved = saved(gallery);
