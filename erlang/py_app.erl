%%% @doc The OTP application `py': starts and stops the supervision tree.
-module(py_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case start_tree() of
        {ok, Sup} ->
            case start_pools(py_config:pools()) of
                ok ->
                    true = py_table:started(),
                    {ok, Sup};
                {error, _} = Error ->
                    py_sup:stop(Sup),
                    Error
            end;
        Other ->
            Other
    end.

start_tree() ->
    case {py_config:max_shared_bytes(), py_directory:new()} of
        {{ok, _}, ok} -> py_sup:start_link();
        {{error, Reason}, _} -> {error, {py, Reason}};
        {_, {error, Reason}} -> {error, {py, Reason}}
    end.

%% What runs may end, for as long as its pool allows.
-spec prep_stop(State) -> State.
prep_stop(State) ->
    py_table:stopping(),
    py_pools_sup:drain(py_table:pools(), default),
    State.

-spec stop(term()) -> ok.
stop(_State) ->
    py_directory:delete(),
    py_table:forget_pools().

start_pools({ok, Pools}) -> start_each(maps:to_list(Pools));
start_pools({error, Reason}) -> {error, {py, Reason}}.

start_each([{Name, Config} | Rest]) ->
    case py_pools_sup:start_pool(Name, Config) of
        {ok, _} -> start_each(Rest);
        {error, _} = Error -> Error
    end;
start_each([]) ->
    ok.
