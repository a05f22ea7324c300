import { patternsPane } from "../patterns/table";
import { type Instrument, pane, saved, widget } from "../widget";

const patterns: Instrument = {
  name: "patterns",
  link: () => {},
  mount: (session, root, signal) => {
    patternsPane(session.store, pane(root, "patterns"), signal);
  },
};

export default widget(patterns);
export const showSaved = saved(patterns);
