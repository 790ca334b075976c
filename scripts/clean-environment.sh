# For the scripts to source. No PYTHON… variable of the user's goes on from here: a folder of PYTHONPATH
# would come before ours, PYTHONWARNINGS=error or PYTHONHOME ends what runs. PYTHON alone stays, which
# chooses the interpreter for scripts/bootstrap.
for _name in "${!PYTHON@}"; do
    [[ $_name == PYTHON ]] || unset "$_name"
done
unset _name
