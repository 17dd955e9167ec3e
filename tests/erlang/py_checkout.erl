%%% The checkout that the tests are run in.
-module(py_checkout).

-export([root/0]).

%% @doc Its directory: the one above this module that has the application's source, which a copy of the tests has not.
-spec root() -> file:filename().
root() -> root(filename:dirname(filename:absname(code:which(?MODULE)))).

root(Directory) ->
    case lists:all(fun(File) -> filelib:is_regular(filename:join(Directory, File)) end, ["erlang/py.app.src", "README.md"]) of
        true ->
            Directory;
        false ->
            Directory =/= filename:dirname(Directory) orelse error(no_checkout),
            root(filename:dirname(Directory))
    end.
