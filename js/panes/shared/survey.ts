/** The survey of many pictures: how far it is. */
import { many } from "../../lib/format";
import type { Store } from "../../lib/store";
import type { Slice, View } from "../../seam";
import { type Progress, unreadable, type Work } from "./work";

export interface SurveyState extends Progress {
  revision: number;
  skipped: number;
  /** Share of the units of each layer that no picture has activated. */
  dead?: Record<string, number>;
  /** How many pictures were read. */
  images: number;
  /** What a unit is called that none of them activated: of too few pictures it is not dead. */
  inactive?: "dead" | "silent";
}

export interface SurveySlice {
  _survey: SurveyState;
}

export const surveySlice: Slice<SurveySlice> = {
  initial: { _survey: { state: "none", revision: 0, done: 0, total: 0, left: null, skipped: 0, images: 0 } },
  given: ["_survey"],
};

/** What a unit is called that no picture of the survey has activated. */
export const inactiveWord = (store: Store<SurveySlice>): "dead" | "silent" =>
  store.get("_survey").inactive ?? "silent";

/** Whether anything is known of the units yet. */
export const isSurveyed = (store: Store<SurveySlice>): boolean => store.get("_survey").revision > 0;

export const surveyWork = ({ store }: View<SurveySlice>): Work => ({
  label: "Survey",
  noun: "survey",
  begins: "survey begins",
  progress: () => store.get("_survey"),
  onChange: (run) => store.onChange(["_survey"], run),
  whole: () => `survey of ${many(store.get("_survey").images, "picture")}`,
  note: () => unreadable(store.get("_survey").skipped),
});
