import { instrument } from "../host/widget";
import { errorsOf, pane } from "../lib/dom";
import { notesPane } from "../panes/gallery/notes";
import { refusedPane } from "../panes/gallery/refused";
import { galleryWork, linkGallery } from "../panes/gallery/requests";
import { gallerySlice } from "../panes/gallery/state";
import { tablePane } from "../panes/gallery/table";
import { galleryToolsPane } from "../panes/gallery/tools";
import { networkSlice } from "../panes/shared/network";
import { statusPane } from "../panes/status/status";

const { widget, showSaved } = instrument({
  name: "gallery",
  slices: [networkSlice, gallerySlice],
  link: linkGallery,
  mount: (view, root) => {
    galleryToolsPane(view, pane(root, "tools"));
    const table = pane(root, "table");
    table.append(errorsOf("rows tiles"));
    tablePane(view, table);
    refusedPane(view, pane(root, "refused"));
    notesPane(view, pane(root, "notes"));
    statusPane(view, pane(root, "status"), galleryWork(view));
  },
});

export { showSaved, widget as default };
