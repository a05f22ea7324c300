import { addressPane, ribbonPane } from "../explorer/ribbon";
import { statusPane } from "../explorer/status";
import { linkStrip, stripPane } from "../explorer/strip";
import { gridPane } from "../filters/grid";
import { ordered } from "../filters/order";
import { linkFilters } from "../filters/requests";
import { classesPane } from "../occluder/classes";
import { controlsPane } from "../occluder/controls";
import { picturePane } from "../occluder/picture";
import { linkOccluder } from "../occluder/requests";
import type { Session } from "../session";
import { linkHere, linkUnit } from "../unit/requests";
import { unitPane } from "../unit/unit";
import { type Instrument, pane, pictureHeading, saved, widget } from "../widget";

/** Something to look at before anything is clicked: the unit that answers most strongly to the first picture. */
function selectStrongest({ store, signal }: Session): void {
  let done = false;
  store.onChange(
    ["grid"],
    () => {
      const grid = store.get("grid");
      if (done || !grid || grid.layer !== store.get("layer")) return;
      done = true;
      if (store.get("selected") === null)
        store.set({ selected: ordered(grid, "strongest", null)[0] ?? null });
    },
    signal,
  );
}

const explorer: Instrument = {
  name: "explorer",
  link: (session) => {
    linkOccluder(session);
    linkFilters(session);
    linkUnit(session);
    linkHere(session);
    linkStrip(session);
    selectStrongest(session);
  },
  mount: (session, root, signal) => {
    const { store } = session;
    ribbonPane(store, pane(root, "ribbon"), signal);
    const left = pane(root, "picture");
    pictureHeading(session, left, signal);
    picturePane(store, left, signal);
    controlsPane(session, left, signal);
    classesPane(store, left, signal);
    stripPane(session, left, root, signal);
    gridPane(store, pane(root, "grid"), signal);
    unitPane(store, pane(root, "unit"), signal);
    const status = pane(root, "status");
    statusPane(session, status, signal);
    addressPane(store, status, signal);
  },
};

export default widget(explorer);
export const showSaved = saved(explorer);
