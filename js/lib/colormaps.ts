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
export const COLORMAPS = Object.keys(ANCHORS) as Colormap[];

const tables = new Map<string, Uint32Array>();

/** 256 opaque colours as the 32-bit words of an ImageData buffer. */
export function table(name: Colormap): Uint32Array {
  const known = tables.get(name);
  if (known) return known;
  const hex = ANCHORS[name] ?? ANCHORS.inferno;
  const last = hex.length / 6 - 1;
  const channel = (anchor: number, offset: number) =>
    Number.parseInt(hex.slice(anchor * 6 + offset * 2, anchor * 6 + offset * 2 + 2), 16);
  const words = new Uint32Array(256);
  const rgba = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) {
    const place = (value / 255) * last;
    const below = Math.min(Math.floor(place), last - 1);
    const part = place - below;
    for (let c = 0; c < 3; c++) {
      rgba[value * 4 + c] = Math.round(channel(below, c) * (1 - part) + channel(below + 1, c) * part);
    }
    rgba[value * 4 + 3] = 255;
  }
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

/** Colours that told apart probabilities closer than this would show noise. */
const LEAST = 0.05;

/** A range of probabilities that is wide enough for a colour map. */
export function widened(low: number, high: number): [number, number] {
  if (high - low >= LEAST) return [low, high];
  const from = Math.min(Math.max(0, (low + high - LEAST) / 2), 1 - LEAST);
  return [from, from + LEAST];
}
