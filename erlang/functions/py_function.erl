%%% @doc Runs of stored functions, from Erlang: a function is named by its key, as `erl.functions' in Python has it, and run as a durable run.
%%%
%%% ```
%%% 1> {ok, Run} = py_function:start(<<"store://demo/function/python/f:5e0e...">>, #{parameters => #{<<"n">> => 5}}).
%%% 2> {ok, #{state := 'COMPLETED'}} = py_run:wait(Run).
%%% 3> py_function:results(Run).
%%% {ok,#{<<"output_0">> => 120}}
%%% '''
%%%
%%% What waits, stops and lists runs is `py_run''s. See `docs/functions-runs.md'.
-module(py_function).

-export([start/1, start/2, run/1, run/2, results/1, outputs/1, warnings/1]).
-export([list/1, get/1, wait/1, logs/1, stop/1, retry/1]).
-export([key/0, begin_run/3, is_boxed/1, wait_run/2, list_runs/1, said/1, document/1, forget/1]).
-export_type([options/0]).

-type options() :: #{
    inputs => #{name() => Key :: binary()},
    parameters => #{name() => term()},
    init_parameters => #{name() => term()},
    pool => py_config:pool_name(),
    key => term(),
    retries => non_neg_integer(),
    backoff => FirstMs :: non_neg_integer() | {FirstMs :: non_neg_integer(), MostMs :: non_neg_integer()},
    timeout => timeout(),
    env => [{Name :: binary(), Value :: binary()}],
    secrets => [Name :: binary()],
    limits => #{cpus => number(), memory => Bytes :: pos_integer()},
    volumes => [py_run_volumes:volume()]
}.
%% `inputs': the keys of data items, artifacts and models, by the names of arguments; `parameters': values, mapped as those of `py:func';
%% `init_parameters': those of the function's `init_function'. The others are `py_run''s.
-type name() :: atom() | binary().
-type failure() :: {error, {py, py_error:reason()}}.

-define(OWN, [inputs, parameters, init_parameters]).
-define(READ_MS, 60_000).
-define(SMALL_BYTES, 65_536).

%% @doc Like {@link start/2} with no options.
-spec start(Key :: binary()) -> {ok, py_run:id()} | {error, term()}.
start(Key) -> start(Key, #{}).

%% @doc Begin a run of the function with this key: of that version, where the key has an id, else of the latest one. Errors: what Python says
%% of a key that is none, `{python, _, _, _}'; those of {@link py_run:start/4}.
-spec start(Key :: binary(), options()) -> {ok, py_run:id()} | {error, term()}.
start(Key, Options) ->
    Api = {start, [Key, Options]},
    is_binary(Key) orelse py_error:badarg(1, "must be the key of a function, a binary", Api),
    is_map(Options) orelse py_error:badarg(2, "options must be a map", Api),
    _ = [is_named(maps:get(Own, Options, #{})) orelse py_error:badarg(2, [atom_to_list(Own), " must be a map from names to values"], Api) || Own <- ?OWN],
    Pool = maps:get(pool, Options, default),
    case read(reader(Pool), [Key | [pairs(maps:get(Own, Options, #{})) || Own <- ?OWN]]) of
        {ok, {Said, Needs, Project, Name, Version, Requirements}} ->
            Environment = #{python_version => Version, requirements => Requirements},
            begun(Said, Needs, placed(Environment, job, maps:merge(maps:without(?OWN, Options), #{project => Project, function => Name})));
        {error, _} = Error ->
            Error
    end.

is_named(Values) -> is_map(Values) andalso lists:all(fun(Name) -> is_atom(Name) orelse is_binary(Name) end, maps:keys(Values)).

pairs(Values) -> [{{bytes, text(Name)}, Value} || {Name, Value} <- maps:to_list(Values)].

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> Name.

%% Not one in a box, which is given what it needs when the run begins.
reader(Pool) ->
    Open = [Name || {Name, #{sandbox := none}} <- py_registry:configs()],
    case lists:member(Pool, Open) orelse Open =:= [] of
        true -> Pool;
        false -> case lists:member(default, Open) of true -> default; false -> hd(Open) end
    end.

%% What is kept of a function Python reads.
read(Pool, Args) ->
    try
        {ok, py_call:func(func, ['erl.functions.job', said, Args, [], #{pool => Pool, timeout => ?READ_MS, strings => binary, dicts => map}])}
    catch
        error:{py, _} = Reason -> {error, Reason};
        error:{python, _, _, _} = Reason -> {error, Reason}
    end.

%% Who names a pool has that; else the function's environment, where the pool `default' will not do.
placed(Environment, Action, Options) ->
    case Action =:= build orelse maps:get(pool, Options, default) =:= default andalso py_env:is_needed(Environment, default) of
        true -> (maps:remove(pool, Options))#{environment => Environment};
        false -> Options
    end.

begun(Said, Needs, Options) ->
    py_run:start('erl.functions.job', run, [{bytes, Said}, {bytes, Needs}], Options#{strings => binary, dicts => map}).

%% @doc Like {@link run/2} with no options.
-spec run(Key :: binary()) -> {ok, #{binary() => term()}} | {error, term()}.
run(Key) -> run(Key, #{}).

%% @doc Begin a run and wait for its results.
-spec run(Key :: binary(), options()) -> {ok, #{binary() => term()}} | {error, term()}.
run(Key, Options) ->
    case start(Key, Options) of
        {ok, Id} ->
            case py_run:wait(Id) of
                {ok, _} -> results(Id);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The values that a run has given, by the names of its outputs: texts are binaries, dicts are maps. Errors: those of {@link py_run:result/1}.
-spec results(py_run:id()) -> {ok, #{binary() => term()}} | {error, term()}.
results(Id) -> part(2, Id).

%% @doc The keys of the entities that a run has given, by the names of its outputs.
-spec outputs(py_run:id()) -> {ok, #{binary() => Key :: binary()}} | {error, term()}.
outputs(Id) -> part(3, Id).

%% @doc What there was to say about the names of its outputs.
-spec warnings(py_run:id()) -> {ok, [binary()]} | {error, term()}.
warnings(Id) -> part(4, Id).

part(Place, Id) ->
    case py_run:result(Id) of
        {ok, Given} when is_tuple(Given), tuple_size(Given) =:= 4, is_binary(element(1, Given)) -> {ok, element(Place, Given)};
        {ok, _} -> no_function();
        {error, _} = Error -> Error
    end.

no_function() -> {error, {py, {run, "it is no run of a function"}}}.

%% @doc The keys of a project's functions, the latest version of each.
-spec list(Project :: binary()) -> [Key :: binary()] | failure().
list(Project) -> listed(Project, {<<>>, <<>>}).

listed(Project, After) ->
    case py_entity:list(Project, <<"function">>, <<>>, true, After, 1_000) of
        {ok, []} -> [];
        {ok, Found} ->
            {Name, Id, _} = lists:last(Found),
            case listed(Project, {Name, Id}) of
                {error, _} = Error -> Error;
                Others -> [function_key(Project, Each, Version) || {Each, Version, _} <- Found] ++ Others
            end;
        {error, _} = Error -> Error
    end.

function_key(Project, Name, Id) -> <<"store://", Project/binary, "/function/python/", Name/binary, ":", Id/binary>>.

%% @doc See {@link py_run:get/1}.
-spec get(py_run:id()) -> {ok, py_run:info()} | failure().
get(Id) -> py_run:get(Id).

%% @doc See {@link py_run:wait/1}.
-spec wait(py_run:id()) -> {ok, py_run:info()} | failure().
wait(Id) -> py_run:wait(Id).

%% @doc See {@link py_run:logs/1}.
-spec logs(py_run:id()) -> {ok, binary()} | failure().
logs(Id) -> py_run:logs(Id).

%% @doc See {@link py_run:stop/1}.
-spec stop(py_run:id()) -> ok | failure().
stop(Id) -> py_run:stop(Id).

%% @doc See {@link py_run:retry/1}.
-spec retry(py_run:id()) -> ok | failure().
retry(Id) -> py_run:retry(Id).

%%% For `erl.functions' of the Python side

%% @doc The key that signs artifacts.
%% @private
-spec key() -> {ok, binary()} | failure().
key() ->
    case py_runs_sup:ensure() of
        ok -> gen_server:call(py_runs, key, infinity);
        {error, _} = Error -> Error
    end.

%% @private
-spec begin_run(binary(), binary(), [{atom(), term()}]) -> {ok, py_run:id()} | failure().
begin_run(Said, Needs, Given) ->
    #{pool := Pool} = Asked = maps:map(fun of_python/2, maps:from_list(Given)),
    Environment = maps:get(environment, Asked, #{}),
    Action = maps:get(action, Asked, job),
    case py_run_volumes:checked(maps:get(volumes, Asked, [])) of
        {ok, _} -> begin_checked(Said, Needs, Pool, Environment, Action, Asked);
        {error, Text} -> {error, {py, {run, Text}}}
    end.

begin_checked(Said, Needs, Pool, Environment, Action, Asked) ->
    %% A name that no pool has makes no atom.
    case [Name || Name <- py_registry:pools(), atom_to_binary(Name) =:= Pool] of
        [Name] -> begun(Said, Needs, placed(Environment, Action, (maps:without([environment, action], Asked))#{pool := Name}));
        [] -> {error, {py, {run, "there is no pool " ++ unicode:characters_to_list(Pool)}}}
    end.

%% @private
%% @doc Whether runs of a pool are in boxes that have volumes.
-spec is_boxed(binary()) -> {ok, boolean()}.
is_boxed(Pool) -> {ok, lists:any(fun({Name, #{sandbox := Kind}}) -> Kind =:= bwrap andalso atom_to_binary(Name) =:= Pool end, py_registry:configs())}.

of_python(service, [Lasts, Pairs]) -> #{lasts => Lasts, options => py_service_options:of_pairs(Pairs)};
of_python(volumes, Volumes) -> [maps:from_list(Volume) || Volume <- Volumes];
of_python(Key, Pairs) when Key =:= limits; Key =:= environment -> maps:from_list(Pairs);
of_python(_Key, Value) -> Value.

%% @private
%% @doc The end of a run, and what it has given, where it is small: who waits for a run asks for that next.
-spec wait_run(py_run:id(), timeout()) -> {ok, {py_run:info(), binary() | none} | timeout} | failure().
wait_run(Id, Timeout) ->
    case py_run:wait(Id, Timeout) of
        {ok, #{state := 'COMPLETED'} = Info} -> {ok, {Info, small(document(Id))}};
        {ok, Info} -> {ok, {Info, none}};
        {error, {py, timeout}} -> {ok, timeout};
        {error, _} = Error -> Error
    end.

small({ok, Document}) when byte_size(Document) =< ?SMALL_BYTES -> Document;
small(_) -> none.

%% @private
-spec list_runs([{atom(), term()}]) -> [py_run:info()] | failure().
list_runs(Filter) -> py_run:list(maps:from_list(Filter)).

%% @private
-spec said(py_run:id()) -> {ok, binary()} | failure().
said(Id) ->
    case py_run:call(Id) of
        {ok, {'erl.functions.job', run, [{bytes, Said} | _], _}} -> {ok, Said};
        {ok, _} -> no_function();
        {error, _} = Error -> Error
    end.

%% @private
-spec document(py_run:id()) -> {ok, binary()} | {error, term()}.
document(Id) -> part(1, Id).

%% @private
-spec forget(py_run:id()) -> ok | failure().
forget(Id) -> py_run:delete(Id).
