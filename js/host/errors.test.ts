import { beforeEach, expect, it } from "vitest";
import { errorsOf } from "../lib/dom";
import { viewOf } from "../testing";
import { showErrors } from "./errors";
import { showError } from "./session";

beforeEach(() => document.body.replaceChildren());

it("says what failed in several panes in the first of them", () => {
  const view = viewOf();
  for (const kinds of ["photo", "grid tiles"]) document.body.append(errorsOf(kinds));
  showErrors(view, document.body);
  const error = (kind: string) => ({ kind, name: "ImageError", message: "Expected a picture.", details: "" });
  const shown = () => [...document.querySelectorAll(".cs-errors")].map((one) => one.childElementCount);
  showError(view.store, "tiles", error("tiles"));
  expect(shown()).toEqual([0, 1, 0]);
  showError(view.store, "photo", error("photo"));
  showError(view.store, "occlude", error("occlude"));
  expect(shown()).toEqual([1, 0, 0]);
  for (const kind of ["photo", "tiles"]) showError(view.store, kind, null);
  expect(shown()).toEqual([0, 0, 1]);
});

it("says once what several requests failed of, and takes it off for all of them", () => {
  const view = viewOf();
  showErrors(view, document.body);
  const error = (kind: string, message: string) => ({ kind, name: "ImageError", message, details: "" });
  for (const kind of ["photo", "fill", "occlude"])
    showError(view.store, kind, error(kind, "Expected a picture."));
  showError(view.store, "grid", error("grid", "Expected a layer."));
  const shown = () => [...document.querySelectorAll(".cs-error__text")].map(({ textContent }) => textContent);
  // The newest first.
  expect(shown()).toEqual(["ImageError Expected a layer.", "ImageError Expected a picture."]);
  document.querySelectorAll<HTMLElement>(".cs-error__close")[1]?.click();
  expect(shown()).toEqual(["ImageError Expected a layer."]);
  // What was dismissed is not said again while it goes on, neither by itself nor beside something else.
  showError(view.store, "photo", error("photo", "Expected a picture."));
  expect(shown()).toEqual(["ImageError Expected a layer."]);
  showError(view.store, "photo", error("photo", "Expected another picture."));
  showError(view.store, "grid", error("grid", "Expected a layer."));
  expect(shown()).toEqual(["ImageError Expected another picture.", "ImageError Expected a layer."]);
  // It is when it was over meanwhile.
  showError(view.store, "fill", null);
  showError(view.store, "fill", error("fill", "Expected a picture."));
  expect(shown()[0]).toBe("ImageError Expected a picture.");
  // One that goes on failing is still said when another has recovered.
  for (const kind of ["photo", "fill"]) showError(view.store, kind, error(kind, "Expected a picture."));
  showError(view.store, "photo", null);
  expect(shown()).toContain("ImageError Expected a picture.");
});
