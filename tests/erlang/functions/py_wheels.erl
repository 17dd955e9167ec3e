%%% Wheels for the tests of environments, made here: so that no test asks an index for anything.
-module(py_wheels).

-include_lib("stdlib/include/assert.hrl").

-export([make/1]).

%% @doc A directory with wheels: `tealeaf', with a program `steep', and cloudpickle as it is in the checkout's own Python.
-spec make(file:filename()) -> file:filename().
make(Directory) ->
    ok = filelib:ensure_path(Directory),
    Tealeaf = [
        {"tealeaf/__init__.py", <<"import sys\n\ndef steep():\n    return sys.prefix\n\ndef main():\n    print('steeped')\n">>},
        {"tealeaf-1.0.dist-info/entry_points.txt", <<"[console_scripts]\nsteep = tealeaf:main\n">>}
    ],
    wheel(Directory, "tealeaf", "1.0", Tealeaf),
    Site = site(),
    Files = filelib:wildcard("cloudpickle/*.py", Site),
    ?assertNotEqual([], Files),
    wheel(Directory, "cloudpickle", "3.9", [{File, element(2, {ok, _} = file:read_file(filename:join(Site, File)))} || File <- Files]),
    Directory.

site() ->
    [Site | _] = filelib:wildcard("python/.venv/lib/python3.*/site-packages", py_checkout:root()),
    filename:join(py_checkout:root(), Site).

%% As the "binary distribution format" has it, without hashes in its record.
wheel(Directory, Name, Version, Files) ->
    Info = lists:concat([Name, "-", Version, ".dist-info/"]),
    Said = [
        {Info ++ "METADATA", iolist_to_binary(["Metadata-Version: 2.1\nName: ", Name, "\nVersion: ", Version, "\n"])},
        {Info ++ "WHEEL", <<"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n">>}
    ],
    Record = iolist_to_binary([[File, ",,\n"] || {File, _} <- Files ++ Said] ++ [Info, "RECORD,,\n"]),
    {ok, _} = zip:create(filename:join(Directory, lists:concat([Name, "-", Version, "-py3-none-any.whl"])), Files ++ Said ++ [{Info ++ "RECORD", Record}]),
    ok.
