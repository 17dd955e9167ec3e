%%% @doc The children of a supervisor that come and go by name, for callers who don't know whether it runs.
%%% @private
-module(py_children).

-export([ask/2, remove/2, list/1]).

%% @doc What the supervisor answers to a request, as the functions of {@link supervisor} make it.
-spec ask(Sup :: atom(), Request :: term()) -> term() | {error, {py, not_started}}.
ask(Sup, Request) ->
    try
        gen_server:call(Sup, Request, infinity)
    catch
        exit:_ -> {error, {py, not_started}}
    end.

%% @doc End a child, and have it forgotten.
-spec remove(Sup :: atom(), Id :: term()) -> ok | {error, not_found | {py, not_started}}.
remove(Sup, Id) ->
    case ask(Sup, {terminate_child, Id}) of
        ok -> _ = ask(Sup, {delete_child, Id}), ok;
        {error, _} = Error -> Error
    end.

%% @doc Those that run, by name; none where the supervisor does not.
-spec list(Sup :: atom()) -> [{Id :: term(), pid()}].
list(Sup) ->
    case ask(Sup, which_children) of
        {error, _} -> [];
        Children -> lists:sort([{Id, Pid} || {Id, Pid, _, _} <- Children, is_pid(Pid)])
    end.
