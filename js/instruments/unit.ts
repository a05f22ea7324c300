import { statusPane } from "../explorer/status";
import { linkUnit } from "../unit/requests";
import { unitPane } from "../unit/unit";
import { type Instrument, pane, saved, widget } from "../widget";

const unit: Instrument = {
  name: "unit",
  link: linkUnit,
  mount: (session, root, signal) => {
    unitPane(session.store, pane(root, "unit"), signal, true);
    statusPane(session, pane(root, "status"), signal);
  },
};

export default widget(unit);
export const showSaved = saved(unit);
