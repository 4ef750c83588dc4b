# A container that stands for another one of the examples: see lab/stand-in.ts.
ARG IMAGE
FROM ${IMAGE}
COPY bulkhead-stand-in.mjs /opt/bulkhead/
ARG PORTS
ENV BULKHEAD_PORTS=${PORTS}
ENTRYPOINT ["/opt/bulkhead/bin/node", "/opt/bulkhead/bulkhead-stand-in.mjs"]
