/**
 * Colours of the page, whatever they are written in.
 *
 * A style is given back as `rgb()`, `color(srgb …)`, `oklch()`, `lab()` and more, and a host's variables hold anything at
 * all: the browser itself draws a point of the colour, and the point is looked at.
 */

/** Red, green and blue, 0 to 1. */
export type Colour = readonly [number, number, number];

/** With how much of what is behind it covers, 0 to 1. */
interface Paint {
  colour: Colour;
  alpha: number;
}

let point: CanvasRenderingContext2D | null = null;

/** What a colour of CSS paints; null of what the browser does not know as one. */
function painted(css: string): Paint | null {
  point ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", {
    willReadFrequently: true,
  });
  if (!point || css === "") return null;
  // What is no colour leaves the style as it was, whichever that was.
  const [one, other] = ["#000000", "#ffffff"].map((before) => {
    if (point) point.fillStyle = before;
    if (point) point.fillStyle = css;
    return point?.fillStyle;
  });
  if (one !== other) return null;
  point.clearRect(0, 0, 1, 1);
  point.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0, alpha = 0] = point.getImageData(0, 0, 1, 1).data;
  return { colour: [r / 255, g / 255, b / 255], alpha: alpha / 255 };
}

const over = ({ colour, alpha }: Paint, ground: Colour): Colour =>
  ground.map((behind, index) => alpha * (colour[index] ?? 0) + (1 - alpha) * behind) as unknown as Colour;

/** Luminance as WCAG 2 defines it, 0 to 1. */
export function luminance(colour: Colour): number {
  const [r = 0, g = 0, b = 0] = colour.map((one) =>
    one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast of two colours, 1 to 21. */
export function contrast(one: Colour, other: Colour): number {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

/** White text reads better on it than black. */
export const isDark = (colour: Colour): boolean => luminance(colour) < 0.179;

/** What an element stands in, also where that is the host of a shadow tree, or a slot. */
function around(element: Element): Element | null {
  if (element.assignedSlot) return element.assignedSlot;
  const parent = element.parentNode;
  return parent instanceof ShadowRoot ? parent.host : element.parentElement;
}

export function* ancestors(element: Element | null): Generator<Element> {
  for (let at = element; at; at = around(at)) yield at;
}

/**
 * What one sees behind the content of an element: the backgrounds at and above it, one over the other.
 *
 * Where none is opaque (a frame that lets its page through) the colour of text tells: light text is for a dark ground.
 */
export function groundOf(element: Element): Colour {
  const layers: Paint[] = [];
  for (const at of ancestors(element)) {
    const paint = painted(getComputedStyle(at).backgroundColor);
    if (!paint || paint.alpha === 0) continue;
    layers.push(paint);
    if (paint.alpha === 1) break;
  }
  const text = painted(getComputedStyle(element).color)?.colour ?? [0, 0, 0];
  const page: Colour = isDark(text) ? [1, 1, 1] : [0, 0, 0];
  return layers.reduceRight((ground, layer) => over(layer, ground), page);
}

/** What a variable of CSS is where an element stands, painted over a ground; null where it is not set, or no colour. */
export function variableOf(element: Element, name: string, ground: Colour): Colour | null {
  const paint = painted(getComputedStyle(element).getPropertyValue(name).trim());
  return paint && over(paint, ground);
}
