%%% @doc Calls that nobody waits for yet: start them, take their results, cancel them.
%%%
%%% The calls that are started together are a group, with a process that starts them in order, no more at a time than its
%%% window allows. Each call has a process of its own, which keeps the result until it is asked for: nothing is ever sent to
%%% the owner that the owner does not wait for.
%%%
%%% ```
%%%   owner --spawns--> group --spawn_link--> runner (one for each call) --call--> worker
%%%   owner --{await, Index, Alias}--> group --{give, Alias}--> runner
%%%   owner <------------------{Alias, {Group, Index}, Result}--- runner
%%%   owner --{kept, Index}--> group --kept--> runner             which ends
%%%   anyone --{cancel, Index}--> group --kill--> runner
%%% '''
%%%
%%% The group ends when each of its calls has been taken or cancelled, and when its owner does. A runner is the keeper
%%% (see {@link py_owners}) of what its result has in shared memory: it hands that on when the owner has the result and keeps it.
%%% @private
-module(py_async).

-export([start/2, take/3, cancel/1, is_handle/1]).
-export_type([handle/0, call/0, result/0]).

-type call() :: {Args :: [term()], py_call_options:options()}.
%% Of the wrapper `call', checked.
-type result() :: {ok, term()} | {error, term()}.
-opaque handle() :: {'$py.async', Owner :: pid(), Group :: pid(), Index :: pos_integer(), States :: atomics:atomics_ref()}.
%% One call. Its state stands outside the group, which may have ended.

-define(OPEN, 0).
-define(TAKEN, 1).
-define(CANCELLED, 2).

%% @doc Start these calls, `Window' of them at a time. The calling process owns them: it alone can take the results, and the
%% references in them are its own. A call's timeout begins now.
-spec start([call()], Window :: pos_integer() | infinity) -> [handle()].
start([], _Window) ->
    [];
start(Calls, Window) ->
    Owner = self(),
    Now = erlang:monotonic_time(millisecond),
    Count = length(Calls),
    States = atomics:new(Count, []),
    Group = spawn(fun() -> group(Owner, Now, Calls, Window) end),
    [{'$py.async', Owner, Group, Index, States} || Index <- lists:seq(1, Count)].

-spec is_handle(term()) -> boolean().
is_handle({'$py.async', Owner, Group, Index, States}) ->
    is_pid(Owner) andalso is_pid(Group) andalso is_integer(Index) andalso is_reference(States);
is_handle(_) ->
    false.

%% @doc Cancel a call, from any process. What is over already is so still.
-spec cancel(handle()) -> ok.
cancel({'$py.async', _Owner, Group, Index, States}) ->
    %% The state is known where the handle was made only.
    node(Group) =:= node() andalso atomics:compare_exchange(States, Index, ?OPEN, ?CANCELLED),
    Group ! {cancel, Index},
    ok.

%% @doc Wait for the results of these calls, which can be taken once. `all': as many results as handles; `first_error': the
%% first error cancels those that are not done. What is not there after `Timeout' is cancelled, too, and has the error
%% `{py, timeout}'. Sends nothing where a handle, named by its position, is none of this process's or was taken before.
-spec take([handle()], timeout(), all | first_error) ->
    {ok, [result()]} | {failed, term()} | {refused, Position :: pos_integer(), not_owner | taken}.
take(Handles, Timeout, Mode) ->
    Numbered = lists:zip(lists:seq(1, length(Handles)), Handles),
    case refused(Numbered, #{}) of
        none -> take_all(Numbered, Timeout, Mode);
        Refused -> Refused
    end.

refused([{Position, {_, Owner, _, _, _}} | _], _Seen) when Owner =/= self() ->
    {refused, Position, not_owner};
refused([{Position, {_, _, _, Index, States} = Handle} | Rest], Seen) ->
    case is_map_key(Handle, Seen) orelse atomics:get(States, Index) =:= ?TAKEN of
        true -> {refused, Position, taken};
        false -> refused(Rest, Seen#{Handle => true})
    end;
refused([], _Seen) ->
    none.

take_all(Numbered, Timeout, Mode) ->
    Alias = alias(),
    Groups = lists:usort([Group || {_, {_, _, Group, _, _}} <- Numbered]),
    Monitors = maps:from_list([{monitor(process, Group), Group} || Group <- Groups]),
    Empty = #{
        alias => Alias, monitors => Monitors, mode => Mode, deadline => py_deadline:after_ms(Timeout), waiting => #{},
        results => []
    },
    try
        keep_or_drop(collect(lists:foldl(fun ask/2, Empty, Numbered)), Numbered)
    after
        %% From here on nothing can arrive.
        unalias(Alias),
        [demonitor(Monitor, [flush]) || Monitor <- maps:keys(Monitors)],
        flush(Alias)
    end.

%% With the first error the results that have come are dropped, too.
keep_or_drop({Outcome, _} = Taken, Numbered) ->
    Word = case Outcome of ok -> kept; failed -> cancel end,
    lists:foreach(fun({_, {_, _, Group, Index, _}}) -> Group ! {Word, Index} end, Numbered),
    Taken.

ask({Position, {_, _, Group, Index, States}}, #{alias := Alias, waiting := Waiting} = Taking) ->
    case atomics:compare_exchange(States, Index, ?OPEN, ?TAKEN) of
        ok ->
            Group ! {await, Index, Alias},
            Taking#{waiting := Waiting#{{Group, Index} => Position}};
        ?CANCELLED ->
            result(Position, {error, {py, cancelled}}, Taking)
    end.

collect(#{failed := Error, mode := first_error}) ->
    {failed, Error};
collect(#{waiting := Waiting, results := Results}) when map_size(Waiting) =:= 0 ->
    {ok, [Result || {_Position, Result} <- lists:sort(Results)]};
collect(#{alias := Alias, monitors := Monitors, waiting := Waiting, deadline := Deadline} = Taking) ->
    receive
        {Alias, Call, Result} ->
            {Position, Left} = maps:take(Call, Waiting),
            collect(result(Position, Result, Taking#{waiting := Left}));
        {'DOWN', Monitor, process, Group, _} when is_map_key(Monitor, Monitors) ->
            collect(without(fun({Of, _}, _) -> Of =:= Group end, {py, cancelled}, drained(Taking)))
    after py_deadline:left_ms(Deadline) ->
        %% First: the group answers what is given up, too.
        #{waiting := Late} = Last = drained(Taking),
        give_up(Late),
        collect(without(fun(_, _) -> true end, {py, timeout}, Last))
    end.

%% With what has arrived.
drained(#{alias := Alias, waiting := Waiting} = Taking) ->
    receive
        {Alias, Call, Result} ->
            {Position, Left} = maps:take(Call, Waiting),
            drained(result(Position, Result, Taking#{waiting := Left}))
    after 0 -> Taking
    end.

%% Some calls have this error instead of a result.
without(Which, Error, #{waiting := Waiting} = Taking) ->
    Lost = maps:filter(Which, Waiting),
    Left = Taking#{waiting := maps:without(maps:keys(Lost), Waiting)},
    lists:foldl(fun(Position, T) -> result(Position, {error, Error}, T) end, Left, lists:sort(maps:values(Lost))).

result(Position, Result, #{results := Results} = Taking) ->
    More = Taking#{results := [{Position, Result} | Results]},
    case Result of
        {error, Error} when not is_map_key(failed, Taking) -> More#{failed => Error};
        _ -> More
    end.

give_up(Waiting) -> lists:foreach(fun({Group, Index}) -> Group ! {cancel, Index} end, maps:keys(Waiting)).

flush(Alias) ->
    receive
        {Alias, _, _} -> flush(Alias)
    after 0 -> ok
    end.

%%% The group

%% `slots' has the calls that are neither taken nor cancelled: `{waiting, Call}', `{running, Runner}', `{done, Runner}', or
%% `lost' where the runner was ended by somebody else. `asked' has the owner's aliases, `next' is the first call that has not
%% been started.
group(Owner, Now, Calls, Window) ->
    process_flag(trap_exit, true),
    Numbered = lists:zip(lists:seq(1, length(Calls)), Calls),
    serve(#{
        owner => Owner,
        monitor => monitor(process, Owner),
        slots => maps:from_list([{Index, {waiting, since(Now, Call)}} || {Index, Call} <- Numbered]),
        runners => #{},
        asked => #{},
        next => 1,
        last => length(Calls),
        running => 0,
        window => Window
    }).

%% A call that has a timeout of its own keeps the time at which it is over.
since(Now, {Args, #{timeout := Timeout} = Options}) when Timeout =/= infinity -> {Args, Options, Now + Timeout};
since(_Now, {Args, Options}) -> {Args, Options, infinity}.

serve(#{slots := Slots}) when map_size(Slots) =:= 0 ->
    ok;
serve(#{next := Next, last := Last, running := Running, window := Window} = Group) when Next =< Last, Running < Window ->
    serve(started(Next, Group#{next := Next + 1}));
serve(#{monitor := Monitor, asked := Asked, runners := Runners} = Group) ->
    receive
        {await, Index, Alias} ->
            serve(asked(Index, Alias, Group#{asked := Asked#{Index => Alias}}));
        {cancel, Index} ->
            serve(cancelled(Index, Group));
        {kept, Index} ->
            serve(kept(Index, Group));
        {done, Index, Runner} when is_map_key(Runner, Runners) ->
            serve(done(Index, Runner, Group));
        {'EXIT', Runner, Reason} when is_map_key(Runner, Runners) ->
            serve(ended(map_get(Runner, Runners), Reason, Group));
        {'DOWN', Monitor, process, _, _} ->
            %% The runners are linked.
            exit(shutdown);
        _ ->
            %% The last words of a runner that was cancelled.
            serve(Group)
    end.

started(Index, #{slots := Slots, runners := Runners, running := Running, owner := Owner, asked := Asked} = Group) ->
    case Slots of
        #{Index := {waiting, Call}} ->
            Self = self(),
            Runner = spawn_link(fun() -> run(Self, Index, Call, Owner) end),
            lists:foreach(fun(Alias) -> Runner ! {give, Alias} end, alias_of(Index, Asked)),
            Group#{
                slots := Slots#{Index := {running, Runner}},
                runners := Runners#{Runner => Index},
                running := Running + 1
            };
        #{} ->
            Group
    end.

asked(Index, Alias, #{slots := Slots} = Group) ->
    case Slots of
        #{Index := {waiting, _}} ->
            Group;
        #{Index := {_, Runner}} ->
            Runner ! {give, Alias},
            Group;
        #{} ->
            gone(Index, Group)
    end.

%% Whatever comes for it now is too late.
kept(Index, #{slots := Slots, asked := Asked} = Group) ->
    [Runner ! kept || #{Index := {_, Runner}} <- [Slots], is_pid(Runner)],
    gone(Index, Group#{asked := maps:remove(Index, Asked)}).

done(Index, Runner, #{slots := Slots, running := Running} = Group) ->
    Group#{slots := Slots#{Index := {done, Runner}}, running := Running - 1}.

cancelled(Index, #{slots := Slots} = Group) ->
    case Slots of
        #{Index := {_, Runner}} when is_pid(Runner) ->
            exit(Runner, kill),
            gone(Index, Group);
        #{Index := _} ->
            gone(Index, Group);
        #{} ->
            Group
    end.

%% A result was handed over, or somebody has ended the runner.
ended(Index, normal, #{asked := Asked} = Group) -> gone(Index, Group#{asked := maps:remove(Index, Asked)});
ended(Index, _Reason, #{asked := Asked} = Group) when is_map_key(Index, Asked) -> gone(Index, Group);
ended(Index, _Reason, Group) -> lost(Index, Group).

lost(Index, Group) ->
    #{slots := Slots} = Left = gone(Index, Group),
    Left#{slots := Slots#{Index => lost}}.

%% Whoever waits for it hears that it was cancelled.
gone(Index, #{slots := Slots, runners := Runners, running := Running, asked := Asked} = Group) ->
    Cancelled = {error, {py, cancelled}},
    lists:foreach(fun(Alias) -> Alias ! {Alias, {self(), Index}, Cancelled} end, alias_of(Index, Asked)),
    Left = Group#{slots := maps:remove(Index, Slots), asked := maps:remove(Index, Asked)},
    case Slots of
        #{Index := {running, Runner}} -> Left#{runners := maps:remove(Runner, Runners), running := Running - 1};
        #{Index := {done, Runner}} -> Left#{runners := maps:remove(Runner, Runners)};
        #{} -> Left
    end.

%% Where the owner waits for it.
alias_of(Index, Asked) -> maps:values(maps:with([Index], Asked)).

%%% A runner

run(Group, Index, {Args, Options, Deadline}, Owner) ->
    Timed = py_deadline:timed(Options, Deadline),
    Result = py_route:perform({wrapper, call}, Args, Timed, {Owner, self()}),
    Group ! {done, Index, self()},
    receive
        {give, Alias} -> Alias ! {Alias, {Group, Index}, Result}
    end,
    receive kept -> py_shared_owner:kept() end.
