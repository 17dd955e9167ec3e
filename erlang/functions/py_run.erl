%%% @doc Runs that survive: a function of Python is called by a run, whose states and result are written before anybody hears of them, and which
%%% goes on after the death of a worker, of the node, or of the machine.
%%%
%%% ```
%%% 1> {ok, Run} = py_run:start(math, factorial, [5]).
%%% 2> py_run:wait(Run).
%%% {ok,#{state => 'COMPLETED', ...}}
%%% 3> py_run:result(Run).
%%% {ok,120}
%%% '''
%%%
%%% A run is known by its id, a binary. It waits for a worker of its pool (PENDING), runs (RUNNING), and ends: COMPLETED, ERROR or STOPPED. A run
%%% that was begun and lost is ERROR, "interrupted", and is run again only where `retries' says so; never before nothing of the attempt before
%%% can run any more. What is kept, and where, stands in `docs/functions-runs.md'.
-module(py_run).

-export([start/3, start/4, run/3, run/4, get/1, call/1, list/0, list/1, wait/1, wait/2, result/1, logs/1, log_end/2, stop/1, retry/1]).
-export([subscribe/0, subscribe/1, unsubscribe/0, delete/1, prune/0, prune/1, info/0]).
-export_type([id/0, options/0, info/0, filter/0]).

-type id() :: py_run_state:id().
-type options() :: #{
    pool => py_config:pool_name(),
    environment => py_env:options(),
    project => name(),
    function => name(),
    keywords => py_term:keywords(),
    key => term(),
    retries => non_neg_integer(),
    backoff => FirstMs :: non_neg_integer() | {FirstMs :: non_neg_integer(), MostMs :: non_neg_integer()},
    timeout => timeout(),
    env => [{Name :: binary(), Value :: binary()}],
    secrets => [Name :: binary()],
    limits => #{cpus => number(), memory => Bytes :: pos_integer()},
    volumes => [py_run_volumes:volume()],
    strings => py_mapping:strings(),
    dicts => py_mapping:dicts(),
    service => #{options := map(), lasts := boolean()}
}.
%% `pool': whose workers run it; `default'. `environment': it runs in a pool of that environment instead, which is built first where it is not
%% there, and started where it is not running. `project', `function': what {@link list/1} finds it by; `default', and the name of the function that
%% is called. `keywords': arguments by name. `key': while a run of the project with this key waits, runs or is COMPLETED, it is the one that is
%% given back, and nothing new begins. `retries': how often it is tried again where an attempt fails or is lost; 0. `backoff': the pause
%% before the second attempt, which doubles with each one, half of it by chance, in milliseconds; `{1000, 60000}'. `timeout': how long an
%% attempt may take; `infinity'. `volumes': directories of the project that it has in its box. `service': of `run("serve")' in Python, which says what
%% may be in it.
-type name() :: atom() | binary().
-type info() :: #{
    id := id(),
    project := binary(),
    function := binary(),
    pool := binary(),
    state := py_run_state:state(),
    message := binary(),
    transitions := [#{status := py_run_state:state(), time := Ms :: integer(), message := binary()}],
    attempt := non_neg_integer(),
    retries := non_neg_integer(),
    created := Ms :: integer(),
    process := none | py_run_state:process(),
    service => #{url => binary()}
}.
%% `message' says why. `transitions': the states that it has been in, in order, with the time since the epoch. `attempt': how many were
%% begun. `process': what the last one runs in, or ran in. `service': of a run that is a service, with its URL while that serves.
-type filter() :: #{
    state => py_run_state:state() | [py_run_state:state()],
    project => name(),
    function => name(),
    limit => pos_integer(),
    'after' => id()
}.
%% At most `limit' (10,000), those behind the run `after'.

-define(LARGE_BYTES, 65_536).
-define(MOST_BYTES, 1 bsl 28).
-define(MOST_NAME_BYTES, 200).
-define(STATES, ['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED', 'ERROR', 'STOPPED']).

%% @doc Like {@link start/4} with no options.
-spec start(py_term:name(), py_term:name(), [py_term:arg()]) -> {ok, id()} | {error, {py, py_error:reason()}}.
start(Module, Function, Args) -> start(Module, Function, Args, #{}).

%% @doc Begin a run. When this returns it is written down, and will be run whatever dies. Arguments are mapped as those of `py:func'; references
%% and shared memory, which end before, are refused (`{encode, _}'). Errors: `{state_dir, Path, Why}' where nothing can be written, or another
%% node has the directory; `{run, Text}'; `not_started'; `badarg' for options.
-spec start(py_term:name(), py_term:name(), [py_term:arg()], options()) -> {ok, id()} | {error, {py, py_error:reason()}}.
start(Module, Function, Args, Options) ->
    Api = {start, [Module, Function, Args, Options]},
    py_term:is_name(Module) orelse py_error:badarg(1, "must be a name: an atom or a binary", Api),
    py_term:is_name(Function) orelse py_error:badarg(2, "must be a name: an atom or a binary", Api),
    is_list(Args) andalso length(Args) >= 0 orelse py_error:badarg(3, "must be the list of arguments", Api),
    case py_options:check(Options, [py_run_options:table(), maps:with([strings, dicts], py_mapping:of_pools())]) of
        {ok, #{pool := _, environment := _}} ->
            py_error:badarg(4, "`pool' and `environment' both say whose workers run it: only one of them, please", Api);
        {ok, #{environment := Asked} = Checked} ->
            case py_env:checked(Asked) of
                {ok, Environment} -> ensured(Module, Function, Args, Checked#{environment := Environment});
                {bad_option, Problem} -> py_error:badarg(4, ["environment: ", py_options:describe(Problem)], Api);
                {error, _} = Error -> Error
            end;
        {ok, Checked} ->
            ensured(Module, Function, Args, Checked);
        {error, Problem} ->
            py_error:badarg(4, py_options:describe(Problem), Api)
    end.

ensured(Module, Function, Args, Checked) ->
    case py_runs_sup:ensure() of
        ok -> created(Module, Function, Args, Checked);
        {error, _} = Error -> Error
    end.

created(Module, Function, Args, Options) ->
    {ok, Keywords} = py_term:keywords(maps:get(keywords, Options, [])),
    Kept = py_send:kept(Module, Function, Args, Keywords),
    case {py_send:keeps_objects(Kept), py_send:kept_bytes(Kept)} of
        {true, _} ->
            {error, {py, {encode, "a run's arguments outlive what they were made in: references and shared memory can't be among them"}}};
        {false, Bytes} when Bytes > ?MOST_BYTES ->
            {error, {py, {encode, "the arguments of a run have at most 256 MiB"}}};
        {false, Bytes} ->
            Id = py_run_table:new_id(erlang:system_time(millisecond)),
            Spec = spec(Module, Function, Options),
            case placed(Id, Bytes, {flags(Options), Kept}) of
                {ok, Call} -> started(Id, Spec#{call => Call}, Call);
                {error, _} = Error -> Error
            end
    end.

%% Those of the pool, as it is now, and what the run says itself.
flags(Options) ->
    OfPool = case py_registry:pool(maps:get(pool, Options, default)) of
        {ok, #{flags := Flags}} -> Flags;
        {error, _} -> 0
    end,
    py_mapping:flags(OfPool, Options).

spec(Module, Function, Options) ->
    Backoff = case maps:get(backoff, Options, {1_000, 60_000}) of
        {_, _} = Both -> Both;
        First -> {First, max(First, 60_000)}
    end,
    Key = case Options of
        #{key := Term} -> #{key => term_to_binary(Term, [deterministic, {minor_version, 2}])};
        #{} -> #{}
    end,
    {Pool, Environment} = place(Options),
    {ok, Volumes} = py_run_volumes:checked(maps:get(volumes, Options, [])),
    Own = maps:filter(fun(_, Value) -> Value =/= [] andalso Value =/= #{} end, (maps:with([env, secrets, limits], Options))#{volumes => Volumes}),
    Given = maps:merge(maps:merge(maps:merge(Key, maps:with([service], Options)), Environment), surroundings(Own)),
    Given#{
        project => text(maps:get(project, Options, default)),
        function => text(maps:get(function, Options, name(Module, Function))),
        pool => Pool,
        retries => maps:get(retries, Options, 0),
        backoff => Backoff,
        timeout => maps:get(timeout, Options, infinity)
    }.

surroundings(None) when map_size(None) =:= 0 -> #{};
surroundings(Some) -> #{surroundings => Some}.

place(#{environment := Environment}) -> {py_env:pool(Environment), #{environment => Environment}};
place(Options) -> {text(maps:get(pool, Options, default)), #{}}.

name(Module, Function) ->
    Name = <<(text(Module))/binary, ":", (text(Function))/binary>>,
    binary:part(Name, 0, min(?MOST_NAME_BYTES, byte_size(Name))).

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> Name.

placed(_Id, Bytes, {Flags, Kept}) when Bytes =< ?LARGE_BYTES -> {ok, {inline, Flags, Kept}};
placed(Id, _Bytes, Call) ->
    case asked(directory) of
        {error, _} = Error -> Error;
        Runs ->
            case py_run_files:write_call(Runs, Id, Call) of
                ok -> {ok, file};
                {error, Reason} -> py_store:unusable(Runs, Reason)
            end
    end.

started(Id, Spec, Call) ->
    case asked({start, Id, Spec}) of
        {ok, Id} -> {ok, Id};
        Other ->
            _ = Call =:= file andalso [py_run_files:delete(Runs, Id) || Runs <- [asked(directory)], not is_tuple(Runs)],
            Other
    end.

%% The server may be between two lives: what it has not answered it may have written all the same, so this is not asked again.
asked(Request) ->
    try
        gen_server:call(py_runs, Request, infinity)
    catch
        exit:{noproc, _} -> {error, {py, not_started}};
        exit:_ -> {error, {py, {run, "the server of runs ended before it answered; what was asked may have been written"}}}
    end.

%% @doc Like {@link run/4} with no options.
-spec run(py_term:name(), py_term:name(), [py_term:arg()]) -> {ok, term()} | {error, term()}.
run(Module, Function, Args) -> run(Module, Function, Args, #{}).

%% @doc Begin a run and wait for its result.
-spec run(py_term:name(), py_term:name(), [py_term:arg()], options()) -> {ok, term()} | {error, term()}.
run(Module, Function, Args, Options) ->
    case start(Module, Function, Args, Options) of
        {ok, Id} ->
            case wait(Id) of
                {ok, _} -> result(Id);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc What there is to know of a run. Errors: `{unknown_run, Id}'.
-spec get(id()) -> {ok, info()} | {error, {py, py_error:reason()}}.
get(Id) ->
    case found(Id) of
        {ok, Run} -> {ok, shown(Run)};
        {error, _} = Error -> Error
    end.

found(Id) ->
    case py_runs_sup:ensure() of
        ok ->
            case py_run_table:find(Id) of
                {ok, Run} -> {ok, Run};
                error -> {error, {py, {unknown_run, Id}}}
            end;
        {error, _} = Error ->
            Error
    end.

shown(#{id := Id, spec := Spec, state := State, message := Message, transitions := Transitions, attempt := Attempt, created_ms := Created, process := Process} = Run) ->
    Shown = maps:merge(maps:with([project, function, pool, retries], Spec), py_run_state:shown(Run)),
    Shown#{
        id => Id, state => State, message => Message, attempt => Attempt, created => Created, process => Process,
        transitions => [#{status => Status, time => Ms, message => Said} || {Status, Ms, Said} <- lists:reverse(Transitions)]
    }.

%% @doc What a run calls: module, function, arguments and keywords, as they were given. Errors: `{unknown_run, Id}'; `{run, Text}' where
%% the file of a large call is not there any more.
-spec call(id()) -> {ok, {Module :: term(), Function :: term(), Args :: [term()], Keywords :: [{term(), term()}]}} | {error, {py, py_error:reason()}}.
call(Id) ->
    case found(Id) of
        {ok, #{spec := #{call := {inline, _, Kept}}}} -> {ok, list_to_tuple(py_send:kept_terms(Kept))};
        {ok, #{spec := #{call := file}}} -> call_of_file(Id);
        {error, _} = Error -> Error
    end.

call_of_file(Id) ->
    case asked(directory) of
        {error, _} = Error -> Error;
        Runs ->
            case py_run_files:read_call(Runs, Id) of
                {ok, {_, Kept}} -> {ok, list_to_tuple(py_send:kept_terms(Kept))};
                _ -> {error, {py, {run, "the file of the run's call is not there, or damaged"}}}
            end
    end.

%% @doc Like {@link list/1} of all.
-spec list() -> [info()] | {error, {py, py_error:reason()}}.
list() -> list(#{}).

%% @doc The runs that a filter lets through, in the order in which they were begun.
-spec list(filter()) -> [info()] | {error, {py, py_error:reason()}}.
list(Filter) ->
    case checked(Filter, list) of
        {ok, Checked} -> [shown(Run) || Run <- py_run_table:list(Checked)];
        {error, _} = Error -> Error
    end.

checked(Filter, Name) ->
    Table = #{
        state => {undefined, fun is_states/1, "a state, or a list of states"},
        project => {undefined, fun py_run_options:is_name/1, "a name"},
        function => {undefined, fun py_run_options:is_name/1, "a name"},
        limit => {10_000, positive, "a number, at least 1"},
        'after' => {<<>>, fun erlang:is_binary/1, "the id of a run"}
    },
    case py_options:check(Filter, [Table]) of
        {ok, Checked} ->
            case py_runs_sup:ensure() of
                ok -> {ok, maps:map(fun(Key, Value) when Key =:= project; Key =:= function -> text(Value); (_, Value) -> Value end, Checked)};
                {error, _} = Error -> Error
            end;
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), {Name, [Filter]})
    end.

is_states(States) when is_list(States) -> lists:all(fun is_states/1, States);
is_states(State) -> lists:member(State, ?STATES).

%% @doc Like {@link wait/2} without an end.
-spec wait(id()) -> {ok, info()} | {error, {py, py_error:reason()}}.
wait(Id) -> wait(Id, infinity).

%% @doc Wait until the run has ended: at once, not by asking again. Errors: `timeout', `{unknown_run, Id}'.
-spec wait(id(), timeout()) -> {ok, info()} | {error, {py, py_error:reason()}}.
wait(Id, Timeout) ->
    case found(Id) of
        {ok, Run} ->
            case py_run_state:has_ended(Run) of
                true -> {ok, shown(Run)};
                false -> waited(Id, py_deadline:after_ms(Timeout))
            end;
        {error, _} = Error ->
            Error
    end.

waited(Id, Deadline) ->
    Alias = monitor(process, py_runs, [{alias, reply_demonitor}]),
    _ = catch py_runs ! {wait, Alias, self(), Id},
    receive
        {Alias, {ended, Run}} -> {ok, shown(Run)};
        {Alias, unknown} -> {error, {py, {unknown_run, Id}}};
        %% Its successor knows the run.
        {'DOWN', Alias, process, _, _} ->
            receive after 10 -> wait(Id, py_deadline:left_ms(Deadline)) end
    after py_deadline:left_ms(Deadline) ->
        demonitor(Alias, [flush]),
        _ = catch py_runs ! {unwait, Alias, Id},
        receive
            {Alias, {ended, Run}} -> {ok, shown(Run)}
        after 0 -> {error, {py, timeout}}
        end
    end.

%% @doc What the function has returned, or what it has raised. Errors: what `py:func' raises as an error; `{unfinished, State}' in
%% `{py, _}', `interrupted', `cancelled' where it was stopped.
-spec result(id()) -> {ok, term()} | {error, term()}.
result(Id) ->
    case found(Id) of
        {ok, #{result := {inline, Frame}} = Run} -> py_send:stored(Frame, py_run_attempt:trust(Run));
        {ok, #{result := {file, _}} = Run} -> from_file(Id, Run);
        {ok, #{state := 'ERROR', error := Error}} when is_binary(Error) -> {error, error_of(Error)};
        {ok, #{state := 'STOPPED'}} -> {error, {py, cancelled}};
        {ok, #{state := State}} -> {error, {py, {run_state, State}}};
        {error, _} = Error -> Error
    end.

from_file(Id, #{attempt := Attempt} = Run) ->
    case asked(directory) of
        {error, _} = Error -> Error;
        Runs ->
            case py_run_files:result(Runs, Id, Attempt) of
                {ok, Frame} -> py_send:stored(Frame, py_run_attempt:trust(Run));
                none -> {error, {py, {run, "the file of the run's result is not there, or damaged"}}}
            end
    end.

error_of(Error) ->
    try binary_to_term(Error, [safe])
    catch error:badarg -> {py, interrupted}
    end.

%% @doc What the run has printed and logged, and the tracebacks of its attempts: UTF-8, as Python wrote it.
-spec logs(id()) -> {ok, binary()} | {error, {py, py_error:reason()}}.
logs(Id) ->
    case found(Id) of
        {ok, _} ->
            case asked(directory) of
                {error, _} = Error -> Error;
                Runs -> {ok, py_run_files:log(Runs, Id)}
            end;
        {error, _} = Error -> Error
    end.

%% @doc The end of that, at most so many bytes, and how many there are in all.
-spec log_end(id(), MostBytes :: pos_integer()) -> {ok, binary(), Bytes :: non_neg_integer()} | {error, {py, py_error:reason()}}.
log_end(Id, Most) ->
    case found(Id) of
        {ok, _} ->
            case asked(directory) of
                {error, _} = Error -> Error;
                Runs ->
                    {End, Bytes} = py_run_files:log_end(Runs, Id, Most),
                    {ok, End, Bytes}
            end;
        {error, _} = Error -> Error
    end.

%% @doc Have a run end. One that waits is STOPPED when this returns; one that runs when nothing of it can run any more, which
%% {@link wait/1} waits for. Errors: `{run_state, State}' where it has ended.
-spec stop(id()) -> ok | {error, {py, py_error:reason()}}.
stop(Id) -> told(stop, Id).

%% @doc Try a run again that has failed or was stopped; with as many retries as it was begun with. Errors: `{run_state, State}'.
-spec retry(id()) -> ok | {error, {py, py_error:reason()}}.
retry(Id) -> told(retry, Id).

told(Event, Id) ->
    case py_runs_sup:ensure() of
        ok -> asked({Event, Id});
        {error, _} = Error -> Error
    end.

%% @doc Like {@link subscribe/1} to all runs.
-spec subscribe() -> ok | {error, {py, py_error:reason()}}.
subscribe() -> subscribe(all).

%% @doc Tell the calling process of each state that runs come to, `{py_run, Id, State, Message}', until it ends or {@link unsubscribe/0}: of all
%% runs, of one, or of a project's.
-spec subscribe(all | {run, id()} | {project, binary()}) -> ok | {error, {py, py_error:reason()}}.
subscribe(What) ->
    case py_runs_sup:ensure() of
        ok -> asked({subscribe, self(), What});
        {error, _} = Error -> Error
    end.

-spec unsubscribe() -> ok | {error, {py, py_error:reason()}}.
unsubscribe() -> asked({unsubscribe, self()}).

%% @doc Forget a run that has ended, with its files. Errors: `{run_state, State}' of one that has not.
-spec delete(id()) -> ok | {error, {py, py_error:reason()}}.
delete(Id) ->
    case found(Id) of
        {ok, #{state := State}} ->
            case asked({prune, [Id]}) of
                {ok, [Id]} -> ok;
                {ok, []} -> {error, {py, {run_state, State}}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Like {@link prune/1} of all.
-spec prune() -> {ok, non_neg_integer()} | {error, {py, py_error:reason()}}.
prune() -> prune(#{}).

%% @doc Forget the runs that a filter lets through and that have ended, with their files; how many they were.
-spec prune(filter()) -> {ok, non_neg_integer()} | {error, {py, py_error:reason()}}.
prune(Filter) ->
    case checked(Filter, prune) of
        {ok, Checked} ->
            Ids = [Id || #{id := Id} = Run <- py_run_table:list(Checked), py_run_state:has_ended(Run)],
            case asked({prune, Ids}) of
                {ok, Gone} -> {ok, length(Gone)};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Where runs are kept, how many wait for each pool and how many run, and whether something can be written: `disk' is `ok', or why not.
-spec info() -> {ok, #{atom() => term()}} | {error, {py, py_error:reason()}}.
info() ->
    case py_runs_sup:ensure() of
        ok ->
            case asked(info) of
                #{} = Info -> {ok, Info#{runs => py_run_table:count()}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error -> Error
    end.
