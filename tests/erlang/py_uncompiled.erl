%%% Interpreters without the compiled codec.
-module(py_uncompiled).

-export([directory/1]).

%% @doc A directory below this one, for `python_path': its module is found first, and says that there is no compiled codec.
-spec directory(file:filename()) -> file:filename().
directory(Below) ->
    Directory = filename:absname(filename:join(Below, "uncompiled")),
    ok = filelib:ensure_dir(filename:join(Directory, "x")),
    ok = file:write_file(filename:join(Directory, "sitecustomize.py"), "import sys\nsys.modules['erl.codec.native'] = None\n"),
    Directory.
