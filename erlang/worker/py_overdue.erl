%%% @doc The clocks of calls that nobody wants any more and that Python does not end. See "A call's deadline" in docs/architecture.md,
%%% which has the states.
%%%
%%% Where calls run in threads each of them has a clock of its own, from when it is unwanted and was begun. One that has had its time
%%% is given up: its worker is to be replaced, and its Python ended when no other call is left in it.
%%%
%%% Belongs to {@link py_calls}. What it looks at are the open calls and the interpreter that they were sent to; what it does is to
%%% interrupt that one, and to say when a call has had its time. The worker process gets its timer as `{timeout, Timer, tick}'.
%%% @private
-module(py_overdue).

-export([new/1, reset/1, is_none/1, is_strained/1, is_quiet/2, look/3, tick/4, kill_after/1]).
-export([unwanted/3, give_up/3, left_alone/2]).
-export_type([overdue/0]).

-record(overdue, {
    %% What becomes of an unwanted call, since when, and the timer of the next look; how long each has had already.
    strain = none :: none | {due, py_wire:id(), SinceMs :: integer()} | {covered, runs | waits},
    tick = undefined :: undefined | reference(),
    spent = #{} :: #{py_wire:id() => Ms :: non_neg_integer()},
    %% Of calls in threads: how many there are, since when unwanted ones have run, and which were given up.
    threads :: pos_integer(),
    since = #{} :: #{py_wire:id() => SinceMs :: integer() | not_begun},
    given_up = #{} :: #{py_wire:id() => []},
    %% Whether the call that is due was interrupted again, by no more than a ring.
    is_rung = false :: boolean(),
    kill_after :: non_neg_integer(),
    import_after :: non_neg_integer()
}).
-opaque overdue() :: #overdue{}.

%% The longest time between two interruptions of one call; it is interrupted a few times before it is killed.
-define(INTERRUPT_MS, 100).
-define(INTERRUPTIONS, 4).

-spec new(py_config:pool()) -> overdue().
new(#{kill_after := KillAfter, start_timeout := StartTimeout, threads := Threads}) ->
    #overdue{kill_after = KillAfter, import_after = max(KillAfter, StartTimeout), threads = Threads}.

%% @doc The interpreter has ended, and its calls with it.
-spec reset(overdue()) -> overdue().
reset(#overdue{tick = Tick} = Overdue) ->
    _ = Tick =:= undefined orelse erlang:cancel_timer(Tick),
    Overdue#overdue{strain = none, tick = undefined, spent = #{}, since = #{}, given_up = #{}}.

-spec kill_after(overdue()) -> Ms :: non_neg_integer().
kill_after(#overdue{kill_after = Ms}) -> Ms.

%% @doc Whether the last look has found no unwanted call that Python has begun.
-spec is_none(overdue()) -> boolean().
is_none(#overdue{strain = Strain, since = Since}) -> Strain =:= none andalso Since =:= #{}.

%% @doc Whether what arrives waits, so that it need not die along.
-spec is_strained(overdue()) -> boolean().
is_strained(#overdue{strain = none}) -> false;
%% What waits there for Erlang may wait for a call that is still to come.
is_strained(#overdue{strain = {covered, waits}}) -> false;
is_strained(_) -> true.

%% @doc Whether there was nothing at the last look, and is nothing now.
-spec is_quiet(py_inflight:calls(), overdue()) -> boolean().
is_quiet(_Sent, #overdue{threads = Threads, since = Since}) when Threads > 1 -> Since =:= #{};
is_quiet(Sent, #overdue{strain = none}) -> py_inflight:unwanted(unknown, Sent) =:= none;
is_quiet(_Sent, _Overdue) -> false.

%% @doc Something has changed that may make an unwanted call the one that Python is busy with, or end it.
-spec look(py_inflight:calls(), py_interpreter:interpreter(), overdue()) -> overdue().
look(Sent, Interpreter, #overdue{threads = Threads} = Overdue) when Threads > 1 ->
    clocks_ticking(clocks(Sent, Interpreter, Overdue));
look(Sent, Interpreter, #overdue{strain = Before} = Overdue) ->
    case {Before, settled(Sent, Interpreter, Overdue)} of
        {{due, Id, _}, #overdue{strain = {due, Id, _}} = Next} -> Next;
        {_, #overdue{strain = {due, _, _}} = Next} -> py_interpreter:interrupt(Interpreter), ticking(Sent, Next#overdue{is_rung = false});
        {none, Next} -> ticking(Sent, Next);
        {_, Next} -> Next
    end.

%% @doc A timer has run out; `kill': an unwanted call has had its time, and whether it is in an import. `unknown': it is none of
%% this module's.
-spec tick(reference(), py_inflight:calls(), py_interpreter:interpreter() | undefined, overdue()) ->
    {ok | abandon | {kill, IsImporting :: boolean()}, overdue()} | unknown.
tick(Timer, Sent, Interpreter, #overdue{tick = Timer, threads = Threads} = Overdue) when Threads > 1 ->
    given_up(Sent, clocks(Sent, Interpreter, Overdue#overdue{tick = undefined}));
tick(Timer, Sent, Interpreter, #overdue{tick = Timer} = Overdue) ->
    ticked(Sent, Interpreter, settled(Sent, Interpreter, Overdue#overdue{tick = undefined}));
tick(_Timer, _Sent, _Interpreter, _Overdue) ->
    unknown.

ticked(Sent, Interpreter, #overdue{strain = {due, Id, _}} = Overdue) ->
    {ok, Call} = py_inflight:find(Id, Sent),
    case left_ms(Id, Sent, Overdue) of
        0 -> {{kill, is_map_key(importing, Call)}, Overdue#overdue{strain = none}};
        _ -> {ok, ticking(Sent, interrupted_again(Interpreter, Overdue))}
    end;
ticked(_Sent, _Interpreter, #overdue{strain = none} = Overdue) ->
    {ok, Overdue};
ticked(Sent, _Interpreter, Overdue) ->
    {ok, ticking(Sent, Overdue)}.

%% Put the time since the last look down to the call that had it, and see which has it now.
settled(Sent, Interpreter, #overdue{strain = Before, spent = Spent} = Overdue) ->
    Now = erlang:monotonic_time(millisecond),
    Had =
        case Before of
            {due, Id, Since} -> maps:update_with(Id, fun(Ms) -> Ms + Now - Since end, Now - Since, Spent);
            _ -> Spent
        end,
    case not py_interpreter:is_doomed(Interpreter) andalso strain(Sent, Interpreter) of
        {due, Due} -> Overdue#overdue{strain = {due, Due, Now}, spent = Had};
        {covered, _} = Covered -> Overdue#overdue{strain = Covered, spent = Had};
        _ -> Overdue#overdue{strain = none, spent = #{}}
    end.

%% A call that was sent behind one that waits may run inside it, or may not have been begun: the page says. One that has not
%% is looked at again.
strain(Sent, Interpreter) ->
    case py_inflight:unwanted(unknown, Sent) of
        none ->
            none;
        Unwanted ->
            case py_inflight:depth(Sent) > 0 andalso py_inflight:unwanted(py_interpreter:begun(Interpreter), Sent) of
                false -> Unwanted;
                none -> {covered, waits};
                Begun -> Begun
            end
    end.

%%% In threads

%% @doc These calls are not wanted any more.
-spec unwanted([py_wire:id()], py_inflight:calls(), overdue()) -> overdue().
unwanted(_Ids, _Sent, #overdue{threads = 1} = Overdue) ->
    Overdue;
unwanted(Ids, #{open := Open}, #overdue{since = Since} = Overdue) ->
    Overdue#overdue{since = maps:merge(maps:from_list([{Id, not_begun} || Id <- Ids, is_map_key(Id, Open)]), Since)}.

%% @doc These have had their time.
-spec give_up([py_wire:id()], py_inflight:calls(), overdue()) -> overdue().
give_up(Ids, Sent, #overdue{given_up = GivenUp} = Overdue) ->
    All = maps:merge(GivenUp, maps:from_keys(Ids, [])),
    Overdue#overdue{given_up = maps:filter(fun(Id, []) -> py_inflight:find(Id, Sent) =/= error end, All)}.

%% @doc Whether there are calls that were given up, and no others.
-spec left_alone(py_inflight:calls(), overdue()) -> boolean().
left_alone(Sent, Overdue) ->
    #overdue{given_up = GivenUp} = give_up([], Sent, Overdue),
    GivenUp =/= #{} andalso map_size(GivenUp) =:= py_inflight:size(Sent).

%% The clock of a call begins when it has begun, at the latest when that is seen.
clocks(#{open := Open} = Sent, Interpreter, #overdue{since = Since} = Overdue) ->
    Now = erlang:monotonic_time(millisecond),
    Begun = py_interpreter:begun(Interpreter),
    Clock = fun
        (Id, not_begun) -> case is_begun(maps:get(Id, Open), Begun, Sent, Overdue) of true -> Now; false -> not_begun end;
        (_Id, Ms) -> Ms
    end,
    Overdue#overdue{since = maps:map(Clock, maps:with(maps:keys(Open), Since))}.

%% A Python that shares no page has begun as many of the oldest as it has threads, at the most.
is_begun(#{number := Number}, unknown, #{open := Open} = Sent, #overdue{threads = Threads}) ->
    length([Before || #{number := Before} <- maps:values(Open), Before < Number]) - py_inflight:asking(Sent) < Threads;
is_begun(#{number := Number}, Begun, _Sent, _Overdue) ->
    Number =< Begun.

given_up(Sent, #overdue{since = Since} = Overdue) ->
    Now = erlang:monotonic_time(millisecond),
    Late = fun(Id, Ms) -> is_integer(Ms) andalso Now - Ms >= time_ms(Id, Sent, Overdue) end,
    case maps:keys(maps:filter(Late, Since)) of
        [] -> {ok, clocks_ticking(Overdue)};
        Ids -> {abandon, clocks_ticking(give_up(Ids, Sent, Overdue#overdue{since = maps:without(Ids, Since)}))}
    end.

clocks_ticking(#overdue{tick = undefined, since = Since, kill_after = After} = Overdue) when Since =/= #{} ->
    Pause = max(10, min(?INTERRUPT_MS, After div ?INTERRUPTIONS)),
    Overdue#overdue{tick = erlang:start_timer(Pause, self(), tick)};
clocks_ticking(Overdue) ->
    Overdue.

%%% In Python's main thread

%% It may have looked before the word was there. The next time it is made to.
interrupted_again(Interpreter, #overdue{is_rung = false} = Overdue) ->
    py_interpreter:interrupt(Interpreter),
    Overdue#overdue{is_rung = true};
interrupted_again(Interpreter, Overdue) ->
    py_interpreter:insist(Interpreter),
    Overdue#overdue{is_rung = false}.

ticking(Sent, #overdue{tick = Before, strain = Strain, kill_after = After} = Overdue) ->
    _ = Before =:= undefined orelse erlang:cancel_timer(Before),
    Pause = max(10, min(?INTERRUPT_MS, After div ?INTERRUPTIONS)),
    Next =
        case Strain of
            none -> undefined;
            {due, Id, _} -> erlang:start_timer(min(Pause, left_ms(Id, Sent, Overdue)), self(), tick);
            _ -> erlang:start_timer(Pause, self(), tick)
        end,
    Overdue#overdue{tick = Next}.

left_ms(Id, Sent, #overdue{spent = Spent} = Overdue) ->
    max(0, time_ms(Id, Sent, Overdue) - maps:get(Id, Spent, 0)).

time_ms(Id, Sent, #overdue{kill_after = KillAfter, import_after = ImportAfter}) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{importing := true}} -> ImportAfter;
        _ -> KillAfter
    end.
