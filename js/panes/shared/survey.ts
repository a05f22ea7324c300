/** The survey of many pictures: how far it is. */
import { many } from "../../lib/format";
import type { Store } from "../../lib/store";
import type { Slice, View } from "../../seam";
import { type Progress, unreadable, type Work } from "./work";

/** What a unit is called that none of the pictures activated: of too few of them it is not dead. */
export type Inactive = "dead" | "inactive";

/** The words for units at zero, each with what it means; docs/concepts.md has them, too. */
export const MEANINGS =
  "inactive here: nowhere above zero on this picture\n" +
  "inactive: so on every picture of the survey; dead: of 101 pictures or more";

export interface SurveyState extends Progress {
  revision: number;
  skipped: number;
  /** Share of the units of each layer that no picture has activated. */
  dead?: Record<string, number>;
  /** How many pictures were read. */
  images: number;
  inactive?: Inactive;
}

export interface SurveySlice {
  _survey: SurveyState;
}

export const surveySlice: Slice<SurveySlice> = {
  initial: { _survey: { state: "none", revision: 0, done: 0, total: 0, left: null, skipped: 0, images: 0 } },
  given: ["_survey"],
};

/** What a unit is called that no picture of the survey has activated. */
export const inactiveWord = (store: Store<SurveySlice>): Inactive =>
  store.get("_survey").inactive ?? "inactive";

/** Whether there is a survey, or one is to come: what it offers has its place from the start. */
export const hasSurvey = (store: Store<SurveySlice>): boolean => store.get("_survey").state !== "none";

/** Whether anything is known of the units yet. */
export const isSurveyed = (store: Store<SurveySlice>): boolean => store.get("_survey").revision > 0;

export const surveyWork = ({ store, kernel }: View<SurveySlice>): Work => ({
  label: "Survey",
  noun: "survey",
  begins: "survey begins",
  progress: () => store.get("_survey"),
  onChange: (run) => store.onChange(["_survey"], run),
  whole: (done) => {
    const { images, total } = store.get("_survey");
    // One that was given may be of a part.
    return `survey of ${done < total ? `${done} of ` : ""}${many(done < total ? total : images, "picture")}`;
  },
  note: () => unreadable(store.get("_survey").skipped),
  resume: () => kernel.tell("resume"),
  retry: "start again",
});
