import { beforeEach, expect, it } from "vitest";
import { viewOf } from "../testing";
import { showErrors } from "./errors";
import { showError } from "./session";

beforeEach(() => document.body.replaceChildren());

it("says once what several requests failed of, and takes it off for all of them", () => {
  const view = viewOf();
  showErrors(view, document.body);
  const error = (kind: string, message: string) => ({ kind, name: "ImageError", message, details: "" });
  for (const kind of ["photo", "fill", "occlude"])
    showError(view.store, kind, error(kind, "Expected a picture."));
  showError(view.store, "grid", error("grid", "Expected a layer."));
  const shown = () => [...document.querySelectorAll(".cs-error__text")].map(({ textContent }) => textContent);
  expect(shown()).toEqual(["ImageError Expected a picture.", "ImageError Expected a layer."]);
  document.querySelector<HTMLElement>(".cs-error__close")?.click();
  expect(shown()).toEqual(["ImageError Expected a layer."]);
  expect(Object.keys(view.store.get("errors"))).toEqual(["grid"]);
  // One that goes on failing is still said when another has recovered.
  for (const kind of ["photo", "fill"]) showError(view.store, kind, error(kind, "Expected a picture."));
  showError(view.store, "photo", null);
  expect(shown()).toContain("ImageError Expected a picture.");
});
