%%% @doc A run that is a service: its attempt is a process that has the service started, and knows when it is there no more.
%%%
%%% ```
%%%   server                    attempt                                  carrier
%%%     | start                   |                                        |
%%%     |------------------------>| the environment, if it needs one       |
%%%     | building, ready         |                                        |
%%%     |<------------------------|---------------- start ---------------->| replicas, fronts
%%%     |       {serving, Url}    |<---------------------------------------|
%%%     |<------------------------|                                        |
%%%     |------- stop ----------->|---------------- stop ----------------->| drained
%%%     |      {ended, stopped}   |<---------------------------------------|
%%%     |<------------------------|                                        |
%%% '''
%%%
%%% Services stand above runs: the module that carries them out makes itself known here, and is called by this behaviour. See "A run that is a
%%% service" in docs/architecture.md.
%%% @private
-module(py_run_service).

-export([provide/1, start/3]).
-export_type([place/0]).

-type place() :: #{
    pool := binary(),
    venv => file:filename_all(),
    env := [{binary(), binary()}],
    secrets := [{binary(), binary()}],
    limits := #{cpus => number(), memory => pos_integer()},
    directory := file:filename_all(),
    former => Url :: binary()
}.
%% Whose Python it runs in, and with what. `directory': of the run's log. `former': where it listened before, if it did.

-callback start(Name :: binary(), Options :: map(), place()) -> ok | {error, {py, py_error:reason()}}.
-callback find(Name :: binary()) -> {ok, pid(), Url :: binary()} | error.
-callback stop(Name :: binary()) -> ok.

-define(CARRIER, ?MODULE).
%% A build that takes longer is told.
-define(BUILDING_MS, 200).
%% What held the port in the node before may take a moment to end.
-define(TRIES, 20).
-define(PAUSE_MS, 500).

%% @doc This module carries services out.
-spec provide(module()) -> ok.
provide(Module) -> persistent_term:put(?CARRIER, Module).

%% @doc Begin, or go on with a service that is there already. The server is told `{said, Pid, Id, Event}', `{ended, Pid, Id, Attempt, Outcome}'.
-spec start(py_run_state:id(), py_run_state:run(), file:filename_all()) -> {pid(), reference()}.
start(Id, #{attempt := Before, state := Was} = Run, Runs) ->
    Attempt = if Was =:= 'RUNNING' -> Before; true -> Before + 1 end,
    spawn_monitor(fun() ->
        ok = py_run_attempt:enter(Id),
        Carrier = persistent_term:get(?CARRIER),
        State = #{id => Id, run => Run, runs => Runs, attempt => Attempt, carrier => Carrier, name => name(Id, Run)},
        case found(State) of
            {ok, Server, Url} -> serving(Server, Url, State);
            error -> placed(State)
        end,
        py_run_attempt:leave(Id)
    end).

name(Id, #{spec := #{project := Project, function := Function}}) -> <<Project/binary, "/", Function/binary, "/", Id/binary>>.

found(#{carrier := Carrier, name := Name}) -> Carrier:find(Name).

%%% Its environment

placed(#{run := #{spec := #{environment := Environment}}} = State) ->
    Job = job(fun() -> py_env:build(Environment) end),
    case answered(Job, ?BUILDING_MS) of
        later -> say({building, <<>>}, State), built(answered(Job, infinity), <<>>, State);
        Answer -> built(Answer, none, State)
    end;
placed(State) ->
    begun(#{}, State, ?TRIES).

built({ok, #{path := Path} = Env}, Said, State) ->
    Warnings = iolist_to_binary(lists:join("; ", maps:get(warnings, Env, []))),
    _ = (Said =/= none orelse Warnings =/= <<>>) andalso say({ready, Warnings}, State),
    begun(#{venv => Path}, State, ?TRIES);
built({error, Error}, _Said, State) ->
    refused(Error, State);
built(stop, _Said, State) ->
    ended(stopped, State).

%%% Its start

begun(Venv, #{id := Id, run := #{spec := #{pool := Pool, service := #{options := Options}} = Spec} = Run, runs := Runs, carrier := Carrier, name := Name} = State, Left) ->
    Surroundings = maps:get(surroundings, Spec, #{}),
    case py_secrets:given(filename:dirname(Runs), Surroundings) of
        {ok, Given} ->
            Place = Venv#{
                pool => Pool,
                env => maps:get(env, Surroundings, []),
                secrets => [{Secret, Value} || {Secret, {bytes, Value}} <- maps:get(secrets, Given, [])],
                limits => maps:get(limits, Surroundings, #{}),
                directory => py_run_files:directory(Runs, Id)
            },
            Job = job(fun() -> Carrier:start(Name, Options, maps:merge(Place, former(Run))) end),
            started(answered(Job, infinity), Venv, State, Left);
        {error, Text} ->
            refused({py, {run, Text}}, State)
    end.

former(#{url := Url}) -> #{former => Url};
former(_) -> #{}.

started(ok, _Venv, State, _Left) ->
    case found(State) of
        {ok, Server, Url} -> serving(Server, Url, State);
        error -> ended(stopped, State)
    end;
%% One that has served before does so again as soon as it can.
started({error, _}, Venv, #{run := #{url := _}} = State, Left) when Left > 0 ->
    receive
        Stop when Stop =:= stop; Stop =:= drop -> stopped(State)
    after ?PAUSE_MS -> begun(Venv, State, Left - 1)
    end;
started({error, Error}, _Venv, State, _Left) ->
    refused(Error, State);
started(stop, _Venv, State, _Left) ->
    stopped(State).

%% In a process of its own, so that the end of the run is heard meanwhile.
job(Fun) ->
    Ref = make_ref(),
    Asker = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Asker ! {Ref, Fun()} end),
    {Ref, Pid, Monitor}.

answered({Ref, Pid, Monitor} = Job, Ms) ->
    receive
        {Ref, Answer} ->
            demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Pid, Reason} ->
            {error, {py, {run, lists:flatten(io_lib:format("it has not started: ~tP", [Reason, 20]))}}};
        Stop when Stop =:= stop; Stop =:= drop ->
            abandoned(Job),
            stop
    after Ms -> later
    end.

%% What it has begun to start its end undoes.
abandoned({_, Pid, Monitor}) ->
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%%% While it is there

serving(Server, Url, State) ->
    say({serving, Url}, State),
    served(monitor(process, Server), Url, State).

served(Monitor, Url, State) ->
    receive
        Stop when Stop =:= stop; Stop =:= drop ->
            demonitor(Monitor, [flush]),
            stopped(State);
        {'DOWN', Monitor, process, _, Reason} ->
            case found(State) of
                %% Its supervisor has started it again, at its port.
                {ok, Server, _} -> served(monitor(process, Server), Url, State);
                error -> gone(Reason, State)
            end
    end.

gone(Reason, State) when Reason =:= shutdown; Reason =:= normal; Reason =:= noproc ->
    ended(stopped, State);
gone(Reason, State) ->
    Error = {py, {run, lists:flatten(io_lib:format("the service has ended: ~tP", [Reason, 20]))}},
    logged(Error, State),
    ended({failed, term_to_binary(Error), py_run_attempt:text(Error), none}, State).

stopped(#{carrier := Carrier, name := Name} = State) ->
    Carrier:stop(Name),
    ended(stopped, State).

%%% What is said

say(Event, #{id := Id}) -> py_run_attempt:say({said, self(), Id, Event}).

ended(Outcome, #{id := Id, attempt := Attempt}) -> py_run_attempt:say({ended, self(), Id, Attempt, Outcome}).

refused(Error, #{id := Id} = State) ->
    logged(Error, State),
    py_run_attempt:say({failed, self(), Id, {refused, term_to_binary(Error), py_run_attempt:text(Error)}}).

logged(Error, #{id := Id, runs := Runs}) -> py_run_files:add_to_log(Runs, Id, [py_error:text(Error), $\n]).
