/** The network, and which of its layers is looked at. */
import type { Extent } from "../../lib/geometry";
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";

export interface LayerInfo {
  name: string;
  kind: string;
  channels: number;
  size: Extent;
  /** Side of the receptive field, px of the picture. */
  field: number;
  /** A squeeze-excite gate upstream sees the whole picture, too. */
  gated: boolean;
  /** It ends in no activation: a value below zero says something, too. */
  signed: boolean;
}

export interface NetworkInfo {
  name: string;
  device: string;
  /** Height and width of the pictures it takes. */
  size: Extent;
  layers: LayerInfo[];
}

export interface NetworkSlice {
  _network: NetworkInfo;
  layer: string;
}

export const networkSlice: Slice<NetworkSlice> = {
  initial: { _network: { name: "", device: "", size: [224, 224], layers: [] }, layer: "" },
  writes: ["layer"],
  asks: ["layer"],
  given: ["_network"],
};

/** What is known of the layer that is looked at. */
export const layerOf = (store: Store<NetworkSlice>): LayerInfo | undefined =>
  store.get("_network").layers.find(({ name }) => name === store.get("layer"));

/** Whether a value below zero of a layer says something, too: its units are neither inactive there nor dead. */
export const isSignedLayer = (store: Store<NetworkSlice>, layer: string | undefined): boolean =>
  !!store.get("_network").layers.find(({ name }) => name === layer)?.signed;
