%%% @doc One run, as a state machine: events in, changes and effects out. Pure: knows no process, no file, no clock and no chance.
%%%
%%% ```
%%%   CREATED -> PENDING -> BUILDING -> READY -> RUNNING -> COMPLETED | ERROR
%%%                 ^---------------------------'   |
%%%                   moved, lost, failed           `-> STOPPED (from each that has not ended)
%%% '''
%%%
%%% {@link decide/3} says what an event comes to: changes, to be written down, and effects, to be carried out once they are.
%%% {@link apply/2} is what a change does to a run, when it has just been written and when it is read again after a start. So what is
%%% known after any death is what was written before. See "Runs" in docs/architecture.md.
%%% @private
-module(py_run_state).

-export([new/2, decide/3, apply/2, has_ended/1, is_waiting/1, is_alone/1, is_service/1, is_kept/1, shown/1, company/1, backoff_ms/3]).
-export_type([id/0, state/0, run/0, spec/0, surroundings/0, event/0, change/0, effect/0, process/0, outcome/0, result/0]).

-type id() :: binary().
-type state() :: 'CREATED' | 'PENDING' | 'BUILDING' | 'READY' | 'RUNNING' | 'COMPLETED' | 'ERROR' | 'STOPPED'.
-type process() :: #{os_pid := pos_integer(), started := binary(), boot := binary(), namespace := binary(), inside => [{pos_integer(), Started :: binary()}]}.
%% The process that leads the group in which an attempt runs; of a box that which has made it, and the box's own first one.
-type spec() :: #{
    project := binary(),
    function := binary(),
    pool := binary(),
    key => binary(),
    retries := non_neg_integer(),
    backoff := {FirstMs :: non_neg_integer(), MostMs :: non_neg_integer()},
    timeout := timeout(),
    surroundings => surroundings(),
    %% In which it is to run, of whose pool it waits for a worker then.
    environment => map(),
    %% It is a service, and no call: `lasts', started again with the node.
    service => #{options := map(), lasts := boolean()},
    call := term()
}.
-type surroundings() :: #{
    env => [{binary(), binary()}],
    secrets => [binary()],
    limits => #{cpus => number(), memory => pos_integer()},
    volumes => py_run_volumes:volumes()
}.
%% What its attempts have in their Python, which is theirs alone.
-type run() :: #{
    id := id(),
    spec := spec(),
    state := state(),
    message := binary(),
    %% Newest first.
    transitions := [{state(), Ms :: integer(), Message :: binary()}],
    created_ms := integer(),
    %% How many were begun, and how many may be.
    attempt := non_neg_integer(),
    most := pos_integer(),
    process := none | process(),
    %% Whether the group of the last attempt is known to be empty.
    is_fenced := boolean(),
    is_stopping := boolean(),
    not_before_ms := integer(),
    result := none | result(),
    error := none | binary(),
    %% Where a service listens, or did last.
    url => binary()
}.
-type result() :: {inline, binary()} | {file, Bytes :: non_neg_integer()}.
-type outcome() ::
    {completed, result()}
    | {failed, Error :: binary(), Message :: binary(), none | result()}
    | {lost, Error :: binary(), Message :: binary()}
    | {not_begun, Message :: binary()}
    %% A service that somebody has stopped.
    | stopped.
-type event() ::
    {building | ready, Message :: binary()}
    | {refused, Error :: binary(), Message :: binary()}
    | {'begin', process()}
    | {serving, Url :: binary()}
    | {ended, Attempt :: pos_integer(), outcome(), PauseMs :: non_neg_integer()}
    | fenced
    | stop
    | retry
    | recover.
-type change() ::
    {created, Ms :: integer(), spec()}
    | {state, Ms :: integer(), 'PENDING' | 'BUILDING' | 'READY', Message :: binary()}
    | {begun, Ms :: integer(), Attempt :: pos_integer(), process()}
    | {serving, Ms :: integer(), Attempt :: pos_integer(), Url :: binary()}
    | {returned, Ms :: integer(), Attempt :: pos_integer(), Message :: binary()}
    | {again, Ms :: integer(), Attempt :: pos_integer(), Message :: binary(), NotBeforeMs :: integer()}
    | {fenced, Ms :: integer()}
    | {stopping, Ms :: integer()}
    | {completed, Ms :: integer(), result()}
    | {failed, Ms :: integer(), Error :: binary(), Message :: binary(), none | result()}
    | {stopped, Ms :: integer()}
    | {retried, Ms :: integer()}
    | {snapshot, run()}.
-type effect() ::
    {enqueue, NotBeforeMs :: integer()}
    | {call, Attempt :: pos_integer()}
    | {cancel, Attempt :: pos_integer()}
    | {settle, Attempt :: pos_integer(), process()}
    | {fence, process()}
    | ended.

-define(IS_WAITING(State), (State =:= 'PENDING' orelse State =:= 'READY' orelse State =:= 'BUILDING')).
%% A run that is tried a thousand times shows the last of it.
-define(MOST_TRANSITIONS, 100).

%% @doc The first change of a new run, which makes it one with {@link apply/2}.
-spec new(spec(), Ms :: integer()) -> {[change()], [effect()]}.
new(Spec, Ms) -> {[{created, Ms, Spec}, {state, Ms, 'PENDING', <<>>}], [{enqueue, Ms}]}.

%% @doc What an event comes to; an error where it has no place in the run's state.
-spec decide(event(), Ms :: integer(), run()) -> {ok, [change()], [effect()]} | {error, {run_state, state()}}.
decide({building, Message}, Ms, #{state := 'PENDING', is_stopping := false}) ->
    {ok, [{state, Ms, 'BUILDING', Message}], []};
decide({ready, Message}, Ms, #{state := State, is_stopping := false}) when State =:= 'PENDING'; State =:= 'BUILDING' ->
    {ok, [{state, Ms, 'READY', Message}], []};
decide({'begin', Process}, Ms, #{state := State, is_fenced := true, attempt := Before}) when State =:= 'PENDING'; State =:= 'READY'; State =:= 'BUILDING' ->
    {ok, [{state, Ms, 'READY', <<>>} || State =:= 'BUILDING'] ++ [{begun, Ms, Before + 1, Process}], [{call, Before + 1}]};
decide({serving, Url}, Ms, #{state := State, is_stopping := false, attempt := Before}) when ?IS_WAITING(State) ->
    {ok, [{state, Ms, 'READY', <<>>} || State =:= 'BUILDING'] ++ [{serving, Ms, Before + 1, Url}], []};
%% Of a service that is stopped before it serves, its attempt says when nothing of it is left.
decide(stop, Ms, #{state := State, is_stopping := false, attempt := Attempt, spec := #{service := _}}) when ?IS_WAITING(State) ->
    {ok, [{stopping, Ms}], [{cancel, Attempt}]};
decide({ended, _, _, _}, Ms, #{state := State, is_stopping := true}) when ?IS_WAITING(State) ->
    {ok, [{stopped, Ms}], [ended]};
decide({refused, _, _}, Ms, #{is_stopping := true}) ->
    {ok, [{stopped, Ms}], [ended]};
decide({refused, Error, Message}, Ms, #{state := State}) when State =:= 'PENDING'; State =:= 'READY'; State =:= 'BUILDING' ->
    {ok, [{failed, Ms, Error, Message, none}], [ended]};
decide({ended, Attempt, Outcome, PauseMs}, Ms, #{state := 'RUNNING', attempt := Attempt} = Run) ->
    ended(Outcome, PauseMs, Ms, Run);
decide(fenced, Ms, #{is_fenced := false, state := State, not_before_ms := NotBefore}) when State =/= 'RUNNING' ->
    {ok, [{fenced, Ms}], [{enqueue, NotBefore} || State =:= 'PENDING']};
decide(stop, Ms, #{state := 'RUNNING', is_stopping := false, attempt := Attempt}) ->
    {ok, [{stopping, Ms}], [{cancel, Attempt}]};
decide(stop, _Ms, #{is_stopping := true}) ->
    {ok, [], []};
decide(stop, Ms, #{state := State}) when State =/= 'COMPLETED', State =/= 'ERROR', State =/= 'STOPPED' ->
    {ok, [{stopped, Ms}], [ended]};
decide(retry, Ms, #{state := State, is_fenced := IsFenced, process := Process}) when State =:= 'ERROR'; State =:= 'STOPPED' ->
    {ok, [{retried, Ms}], [if IsFenced -> {enqueue, Ms}; true -> {fence, Process} end]};
decide(recover, Ms, #{state := State} = Run) ->
    recovered(State, Ms, Run);
decide(_Event, _Ms, #{state := State}) ->
    {error, {run_state, State}}.

%% What was true of processes is so no more: a start begins with what was written.
recovered(State, Ms, #{spec := #{service := _}, is_stopping := true}) when State =:= 'RUNNING'; ?IS_WAITING(State) ->
    {ok, [{stopped, Ms}], [ended]};
recovered('RUNNING', Ms, #{spec := #{service := #{lasts := true}}}) ->
    {ok, [{state, Ms, 'PENDING', <<"the node was started again">>}], [{enqueue, Ms}]};
recovered('RUNNING', Ms, #{spec := #{service := _}}) ->
    {ok, [{failed, Ms, term_to_binary({py, interrupted}), <<"interrupted: the program's node, which served it, has ended">>, none}], [ended]};
recovered('RUNNING', _Ms, #{attempt := Attempt, process := Process}) ->
    {ok, [], [{settle, Attempt, Process}]};
recovered(State, Ms, #{is_fenced := IsFenced, process := Process, not_before_ms := NotBefore}) when
    State =:= 'CREATED'; State =:= 'PENDING'; State =:= 'BUILDING'; State =:= 'READY'
->
    Back = [{state, Ms, 'PENDING', <<"the node was started again">>} || State =/= 'PENDING'],
    {ok, Back, [if IsFenced -> {enqueue, NotBefore}; true -> {fence, Process} end]};
recovered(_Ended, _Ms, _Run) ->
    {ok, [], []}.

ended({completed, Result}, _PauseMs, Ms, _Run) ->
    {ok, [{completed, Ms, Result}], [ended]};
ended(Outcome, _PauseMs, Ms, #{is_stopping := IsStopping}) when IsStopping; Outcome =:= stopped ->
    {ok, [{stopped, Ms}], [ended]};
ended({not_begun, Message}, _PauseMs, Ms, #{attempt := Attempt}) ->
    {ok, [{returned, Ms, Attempt, Message}], [{enqueue, Ms}]};
ended(Outcome, PauseMs, Ms, #{attempt := Attempt, most := Most, process := Process}) when Attempt < Most ->
    {ok, [{again, Ms, Attempt, element(3, Outcome), Ms + PauseMs}], [{fence, Process}]};
ended({failed, Error, Message, Result}, _PauseMs, Ms, _Run) ->
    {ok, [{failed, Ms, Error, Message, Result}], [ended]};
ended({lost, Error, Message}, _PauseMs, Ms, _Run) ->
    {ok, [{failed, Ms, Error, Message, none}], [ended]}.

%% @doc What a change makes of a run.
-spec apply(change(), new | {id(), new} | run()) -> run().
apply({snapshot, Run}, _Before) ->
    Run;
apply({created, Ms, #{retries := Retries} = Spec}, {Id, new}) ->
    #{
        id => Id, spec => Spec, state => 'CREATED', message => <<>>, transitions => [{'CREATED', Ms, <<>>}], created_ms => Ms,
        attempt => 0, most => 1 + Retries, process => none, is_fenced => true, is_stopping => false, not_before_ms => Ms,
        result => none, error => none
    };
apply({state, Ms, State, Message}, Run) ->
    to(State, Ms, Message, Run);
apply({begun, Ms, Attempt, Process}, Run) ->
    to('RUNNING', Ms, attempt_text(Attempt), Run#{attempt := Attempt, process := Process, is_fenced := false});
apply({serving, Ms, Attempt, Url}, Run) ->
    to('RUNNING', Ms, attempt_text(Attempt), Run#{attempt := Attempt, url => Url});
%% Nothing of it has run: it is as if it had not been tried.
apply({returned, Ms, Attempt, Message}, Run) ->
    to('PENDING', Ms, Message, Run#{attempt := Attempt - 1, is_fenced := true, not_before_ms := Ms});
apply({again, Ms, _Attempt, Message, NotBefore}, Run) ->
    to('PENDING', Ms, Message, Run#{not_before_ms := NotBefore});
apply({fenced, _Ms}, Run) ->
    Run#{is_fenced := true};
apply({stopping, _Ms}, Run) ->
    Run#{is_stopping := true, message := <<"is being stopped">>};
apply({completed, Ms, Result}, Run) ->
    to('COMPLETED', Ms, <<>>, Run#{result := Result, is_stopping := false});
apply({failed, Ms, Error, Message, Result}, Run) ->
    to('ERROR', Ms, Message, Run#{error := Error, result := Result});
apply({stopped, Ms}, Run) ->
    to('STOPPED', Ms, <<"stopped">>, Run#{is_stopping := false});
apply({retried, Ms}, #{attempt := Attempt, spec := #{retries := Retries}} = Run) ->
    Fresh = Run#{most := Attempt + 1 + Retries, error := none, result := none, not_before_ms := Ms},
    to('PENDING', Ms, <<"to be tried again">>, Fresh).

attempt_text(1) -> <<>>;
attempt_text(Attempt) -> <<"attempt ", (integer_to_binary(Attempt))/binary>>.

to(State, Ms, Message, #{transitions := Before} = Run) ->
    Run#{state := State, message := Message, transitions := [{State, Ms, Message} | lists:sublist(Before, ?MOST_TRANSITIONS - 1)]}.

%% @doc Whether it is over, unless somebody retries it.
-spec has_ended(run()) -> boolean().
has_ended(#{state := State}) -> State =:= 'COMPLETED' orelse State =:= 'ERROR' orelse State =:= 'STOPPED'.

%% @doc Whether it may begin as soon as there is a worker.
-spec is_waiting(run()) -> boolean().
is_waiting(#{state := State, is_fenced := IsFenced}) -> IsFenced andalso (State =:= 'PENDING' orelse State =:= 'READY' orelse State =:= 'BUILDING').

%% @doc Whether its attempts have a Python of their own.
-spec is_alone(run()) -> boolean().
is_alone(#{spec := Spec}) -> is_map_key(surroundings, Spec).

%% @doc Whether it is a service.
-spec is_service(run()) -> boolean().
is_service(#{spec := Spec}) -> is_map_key(service, Spec).

%% @doc Whether it comes back with the node.
-spec is_kept(run()) -> boolean().
is_kept(#{spec := #{service := #{lasts := Lasts}}}) -> Lasts;
is_kept(_) -> false.

%% @doc What is shown of a service beside what is shown of each run.
-spec shown(run()) -> #{service => #{url => binary()}}.
shown(#{spec := #{service := _}, state := 'RUNNING', url := Url}) -> #{service => #{url => Url}};
shown(#{spec := #{service := _}}) -> #{service => #{}};
shown(_) -> #{}.

%% @doc Whose runs may have had the Python that one of its attempts has: its project's, or nobody's.
-spec company(run()) -> alone | binary().
company(#{spec := #{project := Project}} = Run) ->
    case is_alone(Run) of
        true -> alone;
        false -> Project
    end.

%% @doc The pause before the attempt that follows this one: it doubles each time, and half of it is by chance (`Chance' in 0..1).
-spec backoff_ms(spec(), Attempt :: pos_integer(), Chance :: float()) -> non_neg_integer().
backoff_ms(#{backoff := {First, Most}}, Attempt, Chance) ->
    Whole = min(Most, First bsl min(Attempt - 1, 40)),
    Whole - trunc(Chance * (Whole div 2)).
