import { instrument } from "../host/widget";
import { pane } from "../lib/dom";
import { addressPane } from "../panes/address/address";
import { gridPane } from "../panes/grid/grid";
import { ordered } from "../panes/grid/order";
import { linkGrid } from "../panes/grid/requests";
import { type GridState, gridSlice } from "../panes/grid/state";
import { herePane } from "../panes/here/here";
import { linkHere } from "../panes/here/requests";
import { hereSlice } from "../panes/here/state";
import { classesPane } from "../panes/occluder/classes";
import { controlsPane } from "../panes/occluder/controls";
import { pictureHeading } from "../panes/occluder/heading";
import { picturePane } from "../panes/occluder/picture";
import { linkOccluder } from "../panes/occluder/requests";
import { occluderSlice } from "../panes/occluder/state";
import { ribbonPane } from "../panes/ribbon/ribbon";
import { networkSlice } from "../panes/shared/network";
import { picturesSlice } from "../panes/shared/pictures";
import { selectionSlice } from "../panes/shared/selection";
import { surveySlice, surveyWork } from "../panes/shared/survey";
import { statusPane } from "../panes/status/status";
import { linkStrip } from "../panes/strip/requests";
import { stripSlice } from "../panes/strip/state";
import { stripPane } from "../panes/strip/strip";
import { linkUnit } from "../panes/unit/requests";
import { unitSlice } from "../panes/unit/state";
import { unitPane } from "../panes/unit/unit";
import type { Session } from "../seam";

/** Something to look at before anything is clicked: the unit that answers most strongly to the first picture. */
function selectStrongest({ store }: Session<GridState>): void {
  let done = false;
  store.onChange(["grid"], () => {
    const grid = store.get("grid");
    if (done || !grid || grid.layer !== store.get("layer")) return;
    done = true;
    if (store.get("selected") === null) store.set({ selected: ordered(grid, "strongest", null)[0] ?? null });
  });
}

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
  ],
  link: (session) => {
    linkOccluder(session);
    linkGrid(session);
    linkUnit(session);
    linkHere(session);
    linkStrip(session);
    selectStrongest(session);
  },
  mount: (view, root) => {
    ribbonPane(view, pane(root, "ribbon"));
    const left = pane(root, "picture");
    pictureHeading(view, left);
    picturePane(view, left);
    controlsPane(view, left);
    classesPane(view, left);
    stripPane(view, left, root);
    gridPane(view, pane(root, "grid"));
    unitPane(view, pane(root, "unit"), { beside: (figures) => herePane(view, figures) });
    const status = pane(root, "status");
    statusPane(view, status, surveyWork(view));
    addressPane(view, status);
  },
});

export { showSaved, widget as default };
