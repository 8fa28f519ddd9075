# bash completion of belay(1) and belayd(8).
# shellcheck shell=bash disable=SC2207 # words of compgen hold no blanks

_belay_security_options="--cacert --pin --accept-new --known-hosts --cert
    --cert-key --token-file --sandbox"

_belay_get_options="--output --directory --directory-prefix --overwrite
    --no-clobber --no-remote-time --max-size --sha256 --checksum --if-changed
    --manifest --manifest-key --key --origin --no-state
    --input-file --files-from --from0 --jobs --include --exclude --failed
    --dry-run --error-on-nothing --connections --compress --continue --fail
    --ipv4 --ipv6 --proxy --noproxy --limit-rate --bwlimit --speed-limit
    --speed-time --chunk-size --retry --tries --max-tries --connect-timeout
    --timeout --deadline --max-time --stop-at --config --no-config
    --progress --no-progress --json --log-file --quiet --verbose
    --mirror --seed --receipt --ssh --rsh --remote-belayd
    --recursive --links --check $_belay_security_options
    --help"

_belay_ls_options="--long --recursive --cid --json --retry --connect-timeout
    --timeout --ipv4 --ipv6 --proxy --noproxy --ssh --rsh --remote-belayd
    --quiet --config --no-config --help
    $_belay_security_options"

_belay_place_options="--connections --compress --limit-rate --bwlimit
    --speed-limit --speed-time --proxy --noproxy --ssh --rsh --remote-belayd
    --ipv4 --ipv6 --retry --tries --max-tries --connect-timeout --timeout
    --deadline --max-time --stop-at --config --no-config --json --progress
    --no-progress --log-file --quiet --verbose --help $_belay_security_options"

_belay_repair_options="--copy --force --dry-run --mirror --seed --receipt
    --chunk-size --no-remote-time $_belay_place_options"

_belay_verify_options="--receipt $_belay_place_options"

_belay_reply()
{
    COMPREPLY=($(compgen "$@" -- "$cur"))
}

# The value of the option before the cursor; fails when it is none of these.
_belay_value()
{
    case $1 in
    -o | --output | -i | --input-file | --files-from | --failed | --config | \
        --log-file | --manifest | --manifest-key | --key | --cacert | \
        --cert | --cert-key | --known-hosts | --token-file | --seed)
        compopt -o filenames 2>/dev/null
        _belay_reply -f
        ;;
    -d | -P | --directory | --directory-prefix)
        compopt -o filenames 2>/dev/null
        _belay_reply -d
        ;;
    --if-changed)
        _belay_reply -W "reuse stop"
        ;;
    --sandbox)
        _belay_reply -W "auto require off"
        ;;
    --checksum | --pin)
        _belay_reply -W "sha256:"
        ;;
    -j | --jobs | -x | --connections | --max-size | --sha256 | --origin | \
        --include | --exclude | --proxy | --noproxy | --limit-rate | \
        --bwlimit | --speed-limit | --speed-time | --chunk-size | --retry | \
        --tries | --max-tries | --connect-timeout | --timeout | \
        --deadline | --max-time | --stop-at | --serial | --expires | \
        --threads | --name | --key-name)
        COMPREPLY=()
        ;;
    *)
        return 1
        ;;
    esac
}

_belay_manifest()
{
    local words
    case ${COMP_WORDS[2]} in
    create) words="--origin --serial --expires --chunk-size --threads
        --output --help" ;;
    keygen) words="--name --help" ;;
    sign) words="--key --key-name --help" ;;
    verify) words="--key --origin --no-state --threads --help" ;;
    *) words="" ;;
    esac
    if ((COMP_CWORD == 2)); then
        _belay_reply -W "create keygen sign verify --help"
    elif [[ $cur == -* ]]; then
        _belay_reply -W "$words"
    else
        compopt -o filenames 2>/dev/null
        _belay_reply -f
    fi
}

_belay()
{
    local cur=${COMP_WORDS[COMP_CWORD]}
    local before=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]}

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _belay_reply -W "get ls repair verify cid manifest trust --help --version --exit-codes"
        return
    fi
    if [[ $before == "=" && ${COMP_WORDS[COMP_CWORD - 2]} == --progress ]]; then
        _belay_reply -W "bar plain json none"
        return
    fi
    _belay_value "$before" && return
    case $command in
    get)
        if [[ $cur == -* ]]; then
            _belay_reply -W "$_belay_get_options"
        else
            _belay_reply -W "belay:// belay+tcp://"
        fi
        ;;
    ls)
        if [[ $cur == -* ]]; then
            _belay_reply -W "$_belay_ls_options"
        else
            _belay_reply -W "belay:// belay+tcp://"
        fi
        ;;
    repair | verify)
        local options=_belay_${command}_options
        if [[ $cur == -* ]]; then
            _belay_reply -W "${!options}"
        else
            compopt -o filenames 2>/dev/null
            _belay_reply -f
        fi
        ;;
    cid)
        if [[ $cur == -* ]]; then
            _belay_reply -W "--chunk-size --help"
        else
            compopt -o filenames 2>/dev/null
            _belay_reply -f
        fi
        ;;
    manifest)
        _belay_manifest
        ;;
    trust)
        _belay_reply -W "--replace --forget --known-hosts --config --no-config --help sha256:"
        ;;
    --help)
        _belay_reply -W "all"
        ;;
    esac
}

_belayd()
{
    local cur=${COMP_WORDS[COMP_CWORD]}
    local before=${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    case $before in
    --root | --cache | init)
        compopt -o filenames 2>/dev/null
        _belay_reply -d
        ;;
    --tls-cert | --tls-key | --client-ca | --tokens | --access | --log-file | \
        add)
        compopt -o filenames 2>/dev/null
        _belay_reply -f
        ;;
    --user)
        _belay_reply -u
        ;;
    --sandbox)
        _belay_reply -W "try require strict off"
        ;;
    token)
        _belay_reply -W "add"
        ;;
    --listen | --metrics | --workers | --max-connections | \
        --max-per-address | --exempt) ;;
    *)
        _belay_reply -W "init token --root --listen --tls-cert --tls-key
            --plain --client-ca --tokens --access --stdio --cache --workers
            --max-connections --max-per-address --exempt --no-compression
            --user --sandbox --metrics --log-file --verbose --version --help"
        ;;
    esac
}

complete -F _belay belay
complete -F _belayd belayd
