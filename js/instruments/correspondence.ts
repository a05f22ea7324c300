import { instrument } from "../host/widget";
import { errorsOf, pane } from "../lib/dom";
import { linkCorrespondence } from "../panes/correspondence/requests";
import { pictureRow } from "../panes/correspondence/row";
import { scoreDots, scoreTable } from "../panes/correspondence/scores";
import { correspondenceSlice } from "../panes/correspondence/state";
import { correspondenceTools, correspondenceWork } from "../panes/correspondence/tools";
import { networkSlice } from "../panes/shared/network";
import { statusPane } from "../panes/status/status";

const { widget, showSaved } = instrument({
  name: "correspondence",
  slices: [networkSlice, correspondenceSlice],
  link: linkCorrespondence,
  mount: (view, root) => {
    correspondenceTools(view, pane(root, "tools"));
    const pictures = pane(root, "pictures");
    pictures.append(errorsOf("views covered"));
    pictureRow(view, pictures);
    scoreDots(view, pane(root, "dots"));
    scoreTable(view, pane(root, "parts"));
    statusPane(view, pane(root, "status"), correspondenceWork(view));
  },
});

export { showSaved, widget as default };
