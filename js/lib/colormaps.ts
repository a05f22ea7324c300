/**
 * Colour maps, applied in the browser: choosing another one never asks the kernel.
 *
 * Each is 33 colours at equal steps, interpolated to 256 (within 2 % of the published tables).
 */
const ANCHORS = {
  inferno:
    "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a972766a32c61b0315bbc3754" +
    "c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4",
  viridis:
    "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c" +
    "1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  magma:
    "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779" +
    "c43c75d0416fdc4869e75263ef5d5ef56b5cf9795dfc8961fd9869fea772feb67cfec488fed395fde2a3fcf0b2fcfdbf",
  gray: "000000ffffff",
} as const;

export type Colormap = keyof typeof ANCHORS;
/** How each is called. */
export const COLORMAPS: Record<Colormap, string> = {
  inferno: "inferno",
  viridis: "viridis",
  magma: "magma",
  gray: "grey",
};

const tables = new Map<string, Uint32Array>();

/** Opaque colours between anchors at equal steps. */
function interpolated(hex: string, count: number): Uint32Array {
  const last = hex.length / 6 - 1;
  const channel = (anchor: number, offset: number) =>
    Number.parseInt(hex.slice(anchor * 6 + offset * 2, anchor * 6 + offset * 2 + 2), 16);
  const words = new Uint32Array(count);
  const rgba = new Uint8Array(words.buffer);
  for (let value = 0; value < count; value++) {
    const place = (value / (count - 1)) * last;
    const below = Math.min(Math.floor(place), last - 1);
    const part = place - below;
    for (let c = 0; c < 3; c++) {
      rgba[value * 4 + c] = Math.round(channel(below, c) * (1 - part) + channel(below + 1, c) * part);
    }
    rgba[value * 4 + 3] = 255;
  }
  return words;
}

/** 256 opaque colours as the 32-bit words of an ImageData buffer. */
export function table(name: Colormap): Uint32Array {
  const known = tables.get(name);
  if (known) return known;
  const words = interpolated(ANCHORS[name] ?? ANCHORS.inferno, 256);
  tables.set(name, words);
  return words;
}

/** The colour of one value of 0..255, as CSS. */
export function css(name: Colormap, value: number): string {
  const rgba = new Uint8Array(table(name).buffer, value * 4, 3);
  return `rgb(${rgba.join(" ")})`;
}

/** A colour map as a CSS background, low to high. */
export function gradient(name: Colormap): string {
  const stops = Array.from({ length: 9 }, (_, index) => css(name, Math.round((255 * index) / 8)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/**
 * Colours of signed values, from zero out: positive, then negative, the same lightness on both sides.
 *
 * On a light page zero is paper (ColorBrewer's RdBu and PRGn), on a dark one nearly black.
 */
const SIDES = {
  "red-blue": {
    light: ["f7f7f7fddbc7f4a582d6604db2182b67001f", "f7f7f7d1e5f092c5de4393c32166ac053061"],
    dark: ["16181b3d1a167a2a1fc4472ff07f5bffc4a8", "16181b142a441f4a803576c46fa8f0bcd9ff"],
  },
  "purple-green": {
    light: ["f7f7f7e7d4e8c2a5cf9970ab762a8340004b", "f7f7f7d9f0d3a6dba05aae611b783700441b"],
    dark: ["16181b2f1a3d5b2f7a8f50b8c48be6ead0fb", "16181b13301d1f5c332f91506cc788c2efcc"],
  },
} as const;

export type Diverging = keyof typeof SIDES;
/** Steps on each side of zero. */
export const STEPS = 255;

/** Colours of -STEPS..STEPS, zero in the middle, as the 32-bit words of an ImageData buffer. */
export function diverging(name: Diverging, theme: "light" | "dark"): Uint32Array {
  const key = `${name} ${theme}`;
  const known = tables.get(key);
  if (known) return known;
  const words = new Uint32Array(2 * STEPS + 1);
  (SIDES[name] ?? SIDES["red-blue"])[theme].forEach((hex, negative) => {
    const side = interpolated(hex, STEPS + 1);
    for (let step = 0; step <= STEPS; step++) words[negative ? STEPS - step : STEPS + step] = side[step] ?? 0;
  });
  tables.set(key, words);
  return words;
}

/** Signed colours as a CSS background, negative to positive. */
export function divergingGradient(name: Diverging, theme: "light" | "dark"): string {
  const words = diverging(name, theme);
  const stops = Array.from({ length: 17 }, (_, index) => {
    const at = Math.round((index * 2 * STEPS) / 16);
    return `rgb(${new Uint8Array(words.buffer, at * 4, 3).join(" ")})`;
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** Colours of values, first to last, and as a CSS background: on either side of zero where there are values below it. */
export function colouring(
  name: Colormap,
  signed: boolean,
  theme: "light" | "dark",
): { words: Uint32Array; background: string } {
  return signed
    ? { words: diverging("red-blue", theme), background: divergingGradient("red-blue", theme) }
    : { words: table(name), background: gradient(name) };
}

/** Shades of signed RGB as a CSS background: zero is mid-grey. */
export const SHADES = "linear-gradient(to right, #010101, #808080, #fff)";

/** Colours that told apart probabilities closer than this would show noise. */
const LEAST = 0.05;

/** A range of probabilities that is wide enough for a colour map. */
export function widened(low: number, high: number): [number, number] {
  if (high - low >= LEAST) return [low, high];
  const from = Math.min(Math.max(0, (low + high - LEAST) / 2), 1 - LEAST);
  return [from, from + LEAST];
}
