# For the scripts to source. No PYTHON… variable of the user's goes on from here: a folder of PYTHONPATH
# would come before ours, PYTHONWARNINGS=error or PYTHONHOME ends what runs. PYTHON alone stays, which
# chooses the interpreter for scripts/bootstrap.
for _name in "${!PYTHON@}"; do
    [[ $_name == PYTHON ]] || unset "$_name"
done
unset _name
# A caller has closed one (`>&-`, some cron or service manager): whatever we opened next would take its place,
# and what others print would be written there.
[[ -e /dev/fd/0 ]] || exec </dev/null
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/2 ]] || exec 2>/dev/null
