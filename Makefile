# Few words; each calls one script. `make` alone prints them.

.DEFAULT_GOAL := help
.PHONY: help lab test unit attacks verify generate format bench bench-networks bench-policy bench-policy-tools bench-beside bench-budgets \
  bench-kind build image release cut kind kind-test kind-test-all kind-conformance kind-policy kind-uninstall kind-down clean

help: ## print these words
	@awk 'BEGIN { FS = ":[^#]*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

##@ A cluster on this machine (root, Linux; sets itself up)

lab: ## bring up the lab with the example shops and show who reaches whom (ARGS=--once: and take it down)
	@./bulkhead lab run $(ARGS)

##@ Tests

unit: ## unit and property tests: needs npm alone, no root and no network tools (ARGS=core/policy: only such files)
	@hack/unit.sh $(ARGS)

test: ## every test, on real packets (root; sets itself up)
	@hack/test.sh $(ARGS)

attacks: ## the attacks on isolation alone, in full
	@ATTACKS=long hack/test.sh --project system test/attacks $(ARGS)

verify: ## types, lint, format, generated files, directions of imports
	@hack/verify.sh

##@ Build

build: ## all programs into dist/
	@hack/setup.sh

image: ## the container image (IMAGE, BASE_IMAGE, ARCH)
	@hack/image.sh

release: ## what a user takes home, into dist/release: images, manifests, Helm chart, kubectl plugin, checksums, SBOM
	@hack/release.sh

cut: ## date the changelog and set the version for a release (VERSION=0.2.0); commit and tag are yours
	@hack/setup.sh && node_modules/.bin/node hack/release/cut.ts $(VERSION)

generate: ## write generated files
	@hack/setup.sh && node_modules/.bin/node hack/generate.ts

format: ## format the sources
	@hack/setup.sh && node_modules/.bin/biome format --write .

clean: ## remove what was built and installed in this checkout
	rm -rf dist node_modules

##@ A cluster of kind (docker, kind, kubectl; settings: hack/kind/settings.sh)

kind: ## a cluster with Bulkhead and the shops, and who reaches whom
	@hack/kind.sh up

kind-test: ## the cluster suite on a cluster of its own
	@hack/kind-test.sh

kind-test-all: ## the same for ipv4, ipv6 and dual, with both modes of kube-proxy
	@hack/kind-test.sh all

kind-conformance: ## Kubernetes' own e2e.test, [sig-network] Conformance, on the cluster of make kind
	@hack/kind/conformance.sh

kind-policy: ## the policy suites of Kubernetes and of network-policy-api, whole, on the cluster of make kind
	@hack/kind/policy-suites.sh

kind-uninstall: ## take Bulkhead off the cluster of make kind
	@hack/kind.sh uninstall

kind-down: ## delete the cluster of make kind
	@hack/kind.sh down

##@ Benchmarks

bench: ## compare with the reference plugins and with bare kernel devices; writes docs/benchmarks.md
	@hack/bench.sh $(ARGS)

bench-networks: ## what routers and many Services cost; writes docs/benchmarks-networks.md
	@hack/setup.sh && node_modules/.bin/node hack/bench/networks.ts $(ARGS)

bench-policy: ## what policies cost; writes docs/benchmarks-policy.md
	@hack/setup.sh && node_modules/.bin/node hack/bench/policy.ts $(ARGS)

bench-policy-tools: ## what policy lint and explain cost on 5 000 objects; writes docs/benchmarks-policy-tools.md
	@hack/setup.sh && node_modules/.bin/node hack/bench/policy-tools.ts $(ARGS)

bench-beside: ## this version beside another (REF), in one run; writes docs/benchmarks-beside.md
	@hack/bench/beside.sh $(ARGS)

bench-budgets: ## what one tenant's largest objects cost another tenant; writes docs/benchmarks-budgets.md (ARGS="--only WORD --seconds N")
	@hack/setup.sh && node_modules/.bin/node hack/bench/budgets.ts $(ARGS)

bench-kind: ## pods on real kubelets beside ptp, on the cluster of make kind; prints a table
	@hack/bench/kind.sh
