import { gridPane } from "../filters/grid";
import { linkFilters } from "../filters/requests";
import { type Instrument, pane, saved, widget } from "../widget";

const filters: Instrument = {
  name: "filters",
  link: linkFilters,
  mount: (session, root, signal) => {
    gridPane(session.store, pane(root, "grid"), signal);
  },
};

export default widget(filters);
export const showSaved = saved(filters);
