import { instrument } from "../host/widget";
import { captioned } from "../lib/controls";
import { el, pane } from "../lib/dom";
import { addressPane } from "../panes/address/address";
import { detailButton } from "../panes/detail/detail";
import { linkDetail } from "../panes/detail/requests";
import { detailSlice } from "../panes/detail/state";
import { gridPane } from "../panes/grid/grid";
import { openOnStrongest } from "../panes/grid/open";
import { linkGrid } from "../panes/grid/requests";
import { gridSlice } from "../panes/grid/state";
import { herePane } from "../panes/here/here";
import { linkHere } from "../panes/here/requests";
import { hereSlice } from "../panes/here/state";
import { classesPane } from "../panes/occluder/classes";
import { controlsPane } from "../panes/occluder/controls";
import { pictureHeading } from "../panes/occluder/heading";
import { picturePane } from "../panes/occluder/picture";
import { linkOccluder } from "../panes/occluder/requests";
import { occluderSlice } from "../panes/occluder/state";
import { pinnedPicture, pinPictureButton } from "../panes/pin/picture";
import { linkPin } from "../panes/pin/requests";
import { pinSlice } from "../panes/pin/state";
import { pinnedUnit, pinUnitButton } from "../panes/pin/unit";
import { ribbonPane } from "../panes/ribbon/ribbon";
import { networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { selectionSlice } from "../panes/shared/selection";
import { surveySlice, surveyWork } from "../panes/shared/survey";
import { silenceButtons } from "../panes/silence/buttons";
import { silenceChips } from "../panes/silence/chips";
import { linkSilence } from "../panes/silence/requests";
import { isSilencedHere, silenceSlice } from "../panes/silence/state";
import { statusPane } from "../panes/status/status";
import { linkStrip } from "../panes/strip/requests";
import { stripSlice } from "../panes/strip/state";
import { stripPane } from "../panes/strip/strip";
import { notePointing } from "../panes/unit/pointing";
import { linkUnit } from "../panes/unit/requests";
import { unitSlice } from "../panes/unit/state";
import { unitPane } from "../panes/unit/unit";
import { wholeSlice } from "../panes/whole/state";
import { wholePane } from "../panes/whole/whole";

const { widget, showSaved } = instrument({
  name: "explorer",
  slices: [
    networkSlice,
    picturesSlice,
    surveySlice,
    selectionSlice,
    occluderSlice,
    gridSlice,
    unitSlice,
    hereSlice,
    stripSlice,
    wholeSlice,
    silenceSlice,
    detailSlice,
    pinSlice,
  ],
  link: (session) => {
    linkOccluder(session);
    linkGrid(session);
    linkUnit(session);
    linkHere(session);
    linkStrip(session);
    linkSilence(session);
    linkDetail(session);
    linkPin(session);
    openOnStrongest(session);
  },
  mount: (view, root) => {
    const status = pane(root, "status");
    statusPane(view, status, surveyWork(view));
    silenceChips(view, status);
    const end = status.appendChild(el("div.cs-status__end"));
    addressPane(view, end);
    wholePane(view, end, root);
    ribbonPane(view, pane(root, "ribbon"), { opens: "any" });
    const body = root.appendChild(el("div.cs-body"));
    const left = pane(body, "picture");
    const picture = left.appendChild(el("div.cs-part"));
    const pinPicture = pinPictureButton(view);
    pictureHeading(view, picture, pinPicture);
    picturePane(view, picture);
    controlsPane(view, picture);
    const answer = left.appendChild(el("div.cs-part"));
    classesPane(view, answer);
    pinnedPicture(view, answer, pinPicture);
    stripPane(view, answer, root);
    gridPane(view, pane(body, "grid"));
    const [pin, unit] = [pinUnitButton(view), pane(body, "unit")];
    const { silence, layer, refusal } = silenceButtons(view);
    unitPane(view, unit, {
      headed: (figures) => herePane(view, figures, () => isSilencedHere(view)),
      actions: [detailButton(view, root), pin, silence, refusal],
      more: [captioned("silence of the layer", layer)],
      onPatch: (image) => view.kernel.tell("look", { image }),
    });
    notePointing(view, unit);
    pinnedUnit(view, unit, pin);
  },
});

export { showSaved, widget as default };
