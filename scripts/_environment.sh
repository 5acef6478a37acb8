# What the scripts share: it is sourced, and prepares the system and a virtual environment.
# It keeps to bash 3.2, the one that macOS has.
# shellcheck shell=bash

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# VERSIONS chooses the versions of the dependencies: see scripts/test.
versions=${VERSIONS:-}
venv=$root/.venv${versions:+-$versions}
python=$venv/bin/python
pip_log=$venv/pip.log
# shellcheck disable=SC2034  # for those who source this
qt_packages=(
  libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon-x11-0
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0
  libxcb-shape0 libxcb-xinerama0
)

say() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
}

on_linux() {
  [[ $(uname -s) == Linux ]]
}

# Install those of the named packages that a Debian or Ubuntu lacks, or say how to.
install_packages() {
  local package missing=() as_root=()
  if ! on_linux || ! command -v dpkg-query >/dev/null; then
    return 0
  fi
  for package in "$@"; do
    # Debian 13 and Ubuntu 24.04 have some under a name with t64.
    if [[ $(dpkg-query -W -f='${Status};' "$package" "${package}t64" 2>/dev/null) != *'ok installed;'* ]]; then
      missing+=("$package")
    fi
  done
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if ((EUID == 0)); then
    as_root=(env)
  elif [[ -n ${CI:-} ]] && sudo -n true 2>/dev/null; then
    as_root=(sudo env)
  fi
  if ((${#as_root[@]} > 0)); then
    say "installing ${missing[*]}"
    if "${as_root[@]}" apt-get update -qq \
      && "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}"; then
      return 0
    fi
  fi
  say "going on without system packages; to have them: sudo apt-get install ${missing[*]}"
}

# Print the first Python that is new enough and can make a virtual environment with pip.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Install packages with pip. Its output goes to a log; if it fails, print the end, and name the log.
pip_install() {
  local what=$1
  shift
  say "installing $what"
  if ! (cd "$root" && "$python" -m pip install --progress-bar off "$@") >>"$pip_log" 2>&1; then
    tail -n 10 "$pip_log" >&2
    say "pip could not install $what; its whole output is in $pip_log"
    exit 1
  fi
}

# Make the virtual environment with the project in it: for its users ("use") or its developers
# ("dev"). "docs" installs only the tools of the documentation, which read the source and do not
# import it. A stamp of what was installed makes the next run quick.
prepare_venv() {
  local purpose=$1 groups=() constraints=() chosen wanted
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    if ! chosen=$(find_python); then
      install_packages python3 python3-venv
      if ! chosen=$(find_python); then
        say "there is no Python here that is 3.11 or newer and has venv and pip: install one"
        exit 1
      fi
    fi
    say "making $venv with $("$chosen" --version)"
    "$chosen" -m venv --clear "$venv"
  fi
  wanted=$("$python" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest(), sys.version_info, sys.prefix)
' "$root/pyproject.toml")
  if [[ $(cat "$venv/stamp-$purpose" 2>/dev/null) == "$wanted" ]]; then
    return 0
  fi
  if [[ $purpose == dev ]]; then
    groups=(--group dev)
    if [[ -n $versions ]]; then
      groups=(--group test)  # without tools that need newer versions
    fi
  fi
  if [[ $versions == lowest ]]; then
    "$python" "$root/tools/lowest_versions.py" >"$venv/lowest.txt"
    constraints=(--constraint "$venv/lowest.txt")
  fi
  say "preparing $venv; the first time takes minutes"
  rm -f "$pip_log"
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  pip_install 'pip 25.1 or newer' --upgrade 'pip>=25.1'
  if [[ $purpose == docs ]]; then
    pip_install 'the tools of the documentation' --group docs
    printf '%s\n' "$wanted" >"$venv/stamp-docs"
    return 0
  fi
  # Together and first: each torchvision goes with one torch, and pip must choose them as a pair.
  pip_install 'torch, the largest download' ${constraints[@]+"${constraints[@]}"} torch torchvision
  pip_install 'napari-nst, napari and Qt' ${constraints[@]+"${constraints[@]}"} \
    -e '.[all]' ${groups[@]+"${groups[@]}"}
  if [[ $versions == napari-main ]]; then
    pip_install "napari's main branch" --upgrade 'napari @ git+https://github.com/napari/napari.git'
  fi
  printf '%s\n' "$wanted" >"$venv/stamp-use"
  printf '%s\n' "$wanted" >"$venv/stamp-$purpose"
}
