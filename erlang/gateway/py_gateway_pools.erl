%%% @doc Pools as drivers have them: options in which a binary stands for an atom or a string, pools that are a driver's own, and what is
%%% said of all of them.
%%% @private
-module(py_gateway_pools).

-export([spelled/1, check/1, start/1, pools/0, status/0]).

-define(PREFIX, "py_link_").
-define(MOST_POOLS, 1_024).

%% @doc Options as Python spells them, checked.
-spec check(map()) -> {ok, py_config:pool()} | {error, unicode:chardata()}.
check(Given) ->
    case spelled(Given) of
        {ok, Options} ->
            case py_pool_options:check(Options) of
                {ok, Config} -> {ok, Config};
                {error, Problem} -> {error, py_options:describe(Problem)}
            end;
        {error, Problem} ->
            {error, py_options:describe(Problem)}
    end.

%% @doc Options as Python spells them, in the words of {@link py_pool_options}; their values are not checked.
-spec spelled(map()) -> {ok, map()} | {error, py_options:problem()}.
spelled(Given) ->
    Table = py_pool_options:table(),
    Known = maps:from_list([{atom_to_binary(Key), Key} || Key <- maps:keys(Table)]),
    spelled(maps:to_list(Given), Known, Table, #{}).

spelled([{Name, Value} | Rest], Known, Table, Acc) ->
    Key = if is_atom(Name) -> atom_to_binary(Name); true -> Name end,
    case {Known, Value} of
        %% Where nothing is said, in Python.
        {#{Key := _}, undefined} -> spelled(Rest, Known, Table, Acc);
        {#{Key := Option}, _} -> spelled(Rest, Known, Table, Acc#{Option => value(Option, Value, Table)});
        {#{}, _} -> {error, {unknown_option, Name, lists:sort(maps:keys(Table))}}
    end;
spelled([], _Known, _Table, Acc) ->
    {ok, Acc}.

value(env, Variables, _Table) when is_map(Variables) ->
    [{text(Name), text(Value)} || {Name, Value} <- maps:to_list(Variables)];
value(env, Variables, _Table) when length(Variables) >= 0 ->
    [case Variable of {Name, Value} -> {text(Name), text(Value)}; _ -> Variable end || Variable <- Variables];
value(restart, Restart, _Table) when is_map(Restart) ->
    maps:from_list([{among(Key, [max, within, delay, max_delay]), Value} || {Key, Value} <- maps:to_list(Restart)]);
value(python, {<<"venv">>, Directory}, _Table) ->
    {venv, Directory};
value(image, Name, _Table) ->
    text(Name);
value(network, Name, _Table) ->
    case among(Name, [none, host]) of
        Known when is_atom(Known) -> Known;
        Other -> text(Other)
    end;
value(scheduler, Name, _Table) ->
    among(Name, [least_busy, round_robin, random, first, youngest, oldest]);
value(callbacks, Which, _Table) ->
    among(Which, [all, none]);
value(log_level, Level, _Table) ->
    among(Level, [debug, info, warning, error, critical]);
value(Key, Value, Table) when is_binary(Value) ->
    case Table of
        #{Key := Values} when is_list(Values) -> among(Value, [case Each of {V, _} -> V; V -> V end || Each <- Values]);
        #{} when Value =:= <<"infinity">>, Key =/= python, Key =/= cd, Key =/= io -> infinity;
        #{} -> Value
    end;
value(_Key, Value, _Table) ->
    Value.

text(Text) when is_binary(Text) ->
    case unicode:characters_to_list(Text) of
        List when is_list(List) -> List;
        _ -> Text
    end;
text(Other) ->
    Other.

among(Name, Atoms) when is_binary(Name) ->
    case [Atom || Atom <- Atoms, atom_to_binary(Atom) =:= Name] of
        [Atom] -> Atom;
        [] -> Name
    end;
among(Other, _Atoms) ->
    Other.

%% @doc A pool under the first free one of some names, which belongs to a process that is linked to the calling one. Names are used again:
%% atoms stay.
-spec start(py_config:pool()) -> {ok, py_config:pool_name(), Owner :: pid()} | {error, term()}.
start(Config) -> start(Config, 1).

start(_Config, Number) when Number > ?MOST_POOLS ->
    {error, {link, io_lib:format("there are ~w pools of drivers, and no more may be", [?MOST_POOLS])}};
start(Config, Number) ->
    Name = list_to_atom(?PREFIX ++ integer_to_list(Number)),
    case lists:keymember(Name, 1, py_registry:configs()) of
        true ->
            start(Config, Number + 1);
        false ->
            case py_pool_owner:start_link(Name, Config) of
                {ok, Owner} -> {ok, Name, Owner};
                {error, {py, {already_started, _}}} -> start(Config, Number + 1);
                {error, Reason} -> {error, Reason}
            end
    end.

%% @doc The pools that there are: `size', `workers', `sandbox', and `python' where a worker has told its version.
-spec pools() -> #{py_config:pool_name() => map()}.
pools() ->
    Configs = maps:from_list(py_registry:configs()),
    maps:from_list([{Name, pool(Name, maps:get(Name, Configs, #{}))} || Name <- py_registry:pools()]).

pool(Name, Config) ->
    Workers = [Worker || {_Slot, Worker} <- py_registry:workers(Name)],
    Said = #{size => length(Workers), workers => Workers, sandbox => maps:get(sandbox, Config, none)},
    case py_registry:python(Name) of
        undefined -> Said;
        Version -> Said#{python => Version}
    end.

%% @doc What there is, with what each worker does; asks the workers.
-spec status() -> map().
status() ->
    {ok, Version} = application:get_key(py, vsn),
    {Uptime, _} = erlang:statistics(wall_clock),
    Infos = py_pools:workers(),
    #{
        node => node(),
        os_pid => list_to_integer(os:getpid()),
        otp => list_to_binary(erlang:system_info(otp_release)),
        version => list_to_binary(Version),
        uptime_ms => Uptime,
        memory_bytes => erlang:memory(total),
        pools => maps:map(
            fun(Name, Pool) -> Pool#{workers := [Info || #{pool := Of} = Info <- Infos, Of =:= Name]} end, pools()
        )
    }.
