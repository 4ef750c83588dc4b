/** The port on which every kubelet serves its own API, on all addresses of its node. */
export const KUBELET_PORT = 10_250;
