import { statusPane } from "../explorer/status";
import { healthPane } from "../health/table";
import { type Instrument, pane, saved, widget } from "../widget";

const health: Instrument = {
  name: "health",
  link: () => {},
  mount: (session, root, signal) => {
    healthPane(session.store, pane(root, "health"), signal);
    statusPane(session, pane(root, "status"), signal);
  },
};

export default widget(health);
export const showSaved = saved(health);
