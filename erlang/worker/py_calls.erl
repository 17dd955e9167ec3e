%%% @doc The calls that a worker has in hand, and the interpreter that they go through: those that wait, those that Python
%%% was sent, and those among them that nobody wants any more.
%%%
%%% Belongs to the worker process, which hands it the messages `{timeout, Timer, Event}' that it has asked for. Callers get
%%% `{Alias, {frame, Frame}}' or `{Alias, {error, Reason}}', once; `{Alias, {frame, Frame, Budget}}' where the frame is a
%%% sandboxed Python's, which is to be read with care.
%%%
%%% A call is unwanted when its deadline has passed, when it was cancelled, or when its caller has died. One that was not
%%% sent is dropped. Python is told of the others; for the one that it is busy with it is also interrupted, again and again
%%% because what it is told may still stand behind a megabyte of arguments. The time that such a call has is counted, and when
%%% it has had `kill_after' (in the middle of an import `start_timeout'), the worker is asked to kill it. What it asks of Erlang
%%% does not stop that clock; a call that is wanted and runs inside it does. Until then what arrives waits, so that it need not
%%% die along, but for where a wanted call waits inside, which may be for that.
%%% @private
-module(py_calls).

-export([new/2, attach/2, detach/1, interpreter/1, update/2]).
-export([accept/3, accept_all/2, internal/3, write/2, flush/1, is_pending/1, answer/3, answer_all/2, reply/2]).
-export([cancel/2, timeout/2, asked/4, answered/3, told/2, goes_on/2, dropped/2, alone/2, later/2, importing/2, owner/2, from/2]).
-export([leader/1, output/4, settle/1]).
-export([open/1, hold/1, load/1, open_calls/1, coroutines/1, sent/1]).
-export([fail_sent/3, fail_waiting/2, give_back_waiting/1]).
-export_type([calls/0, step/0]).

-record(calls, {
    interpreter = undefined :: undefined | py_interpreter:interpreter(),
    flow = held :: open | held,
    sent = py_inflight:new() :: py_inflight:calls(),
    waiting = queue:new() :: queue:queue({map(), py_wire:body()}),
    overdue :: py_overdue:overdue(),
    watch_timer = undefined :: undefined | {reference(), Sent :: non_neg_integer()},
    budget :: py_atoms:budget(),
    max_queue :: non_neg_integer() | infinity,
    %% What Python has asked and has no answer to.
    questions = #{} :: #{Question :: term() => py_request:running()},
    %% Those that Python lets no call nest in.
    alone = [] :: [Question :: term()]
}).
-opaque calls() :: #calls{}.
-type step() :: configure | import | on_start | released | leave.
%% A call of the worker's own.

%% A call that takes longer than this has its caller watched.
-define(WATCH_MS, 50).
%% How many calls wait inside each other in Python at the most; the others wait in order.
-define(MOST_NESTED, 64).

%% @doc No calls; the answers' new atoms are this budget's.
-spec new(py_config:pool(), py_atoms:budget()) -> calls().
new(#{max_queue := MaxQueue} = Config, Budget) ->
    #calls{overdue = py_overdue:new(Config), max_queue = MaxQueue, budget = Budget}.

%% @doc A new interpreter; the calls that wait are for it.
-spec attach(py_interpreter:interpreter(), calls()) -> calls().
attach(Interpreter, Calls) -> Calls#calls{interpreter = Interpreter, sent = py_inflight:new()}.

-spec detach(calls()) -> calls().
detach(Calls) -> Calls#calls{interpreter = undefined, flow = held}.

-spec interpreter(calls()) -> undefined | py_interpreter:interpreter().
interpreter(#calls{interpreter = Interpreter}) -> Interpreter.

-spec update(py_interpreter:interpreter(), calls()) -> calls().
update(Interpreter, Calls) -> Calls#calls{interpreter = Interpreter}.

%%% In and out

%% @doc Take a call: it is sent, waits, or gets `overload'.
-spec accept(map(), py_wire:body(), calls()) -> calls().
accept(#{from := From} = Call, Body, #calls{max_queue = Most, waiting = Waiting} = Calls) ->
    case Most =/= infinity andalso load(Calls) > Most of
        true ->
            py_events:emit([queue, full], #{waiting => queue:len(Waiting)}, #{worker => self()}),
            reply(From, {error, overload}),
            Calls;
        false ->
            case is_nested_too_deep(Call, Calls) of
                true ->
                    reply(From, {error, {nested, py_inflight:depth(Calls#calls.sent)}}),
                    Calls;
                false ->
                    accepted(Call, Body, Calls)
            end
    end.

accepted(Call, Body, Calls) ->
    case is_open(Calls) of
        true -> watched(send(Call, Body, Calls));
        false -> watched(wait(Call, Body, Calls))
    end.

%% @doc The same for some, in order.
-spec accept_all([{map(), py_wire:body()}], calls()) -> calls().
accept_all(Some, #calls{max_queue = infinity, sent = Sent} = Calls) ->
    case is_open(Calls) andalso py_inflight:is_plain(Sent) of
        true -> watched(send_all(Some, Calls));
        false -> accept_each(Some, Calls)
    end;
accept_all(Some, Calls) ->
    accept_each(Some, Calls).

accept_each(Some, Calls) -> lists:foldl(fun({Call, Body}, Acc) -> accept(Call, Body, Acc) end, Calls, Some).

send_all(Some, #calls{sent = Sent, interpreter = Interpreter} = Calls) ->
    {Frames, More} = py_inflight:add_all(Some, fun py_wire:framed_call/2, Sent),
    Calls#calls{sent = More, interpreter = py_interpreter:write_all(Frames, length(Frames), Interpreter)}.

%% Python lets no more calls nest: the call would wait for an answer that waits for it.
is_nested_too_deep(#{caller := Caller}, #calls{sent = Sent, questions = Questions, alone = Alone}) ->
    Innermost = [Question || py_inflight:depth(Sent) >= ?MOST_NESTED, {ok, Question} <- [py_inflight:innermost(Sent)]],
    lists:any(
        fun(Question) ->
            is_map_key(Question, Questions) andalso py_request:is_run_by(Caller, map_get(Question, Questions))
        end,
        Innermost ++ Alone
    ).

wait(Call, Body, #calls{waiting = Waiting} = Calls) ->
    Longer = queue:in({Call, Body}, Waiting),
    py_events:emit([queue, wait], #{waiting => queue:len(Longer)}, #{worker => self()}),
    Calls#calls{waiting = Longer}.

%% What is not sent to an interpreter that is ending, or that may be killed soon, need not die along.
is_open(#calls{flow = open, interpreter = Interpreter, overdue = Overdue}) ->
    not (py_overdue:is_strained(Overdue) orelse py_interpreter:is_doomed(Interpreter) orelse py_interpreter:is_gone(Interpreter));
is_open(_) ->
    false.

%% @doc A call of the worker's own; its answer comes back from {@link answer/3}.
-spec internal(step(), py_wire:body(), calls()) -> calls().
internal(Step, Body, Calls) -> send(#{from => Step, owner => self(), group_leader => group_leader()}, Body, Calls).

send(Call, Body, #calls{sent = Sent} = Calls) ->
    {Id, More} = py_inflight:add(Call, Sent),
    write(py_wire:call(Id, Body), Calls#calls{sent = More}).

-spec write(iodata(), calls()) -> calls().
write(Frame, #calls{interpreter = Interpreter} = Calls) ->
    Calls#calls{interpreter = py_interpreter:write(Frame, Interpreter)}.

-spec flush(calls()) -> calls().
flush(#calls{interpreter = undefined} = Calls) -> Calls;
flush(#calls{interpreter = Interpreter} = Calls) -> Calls#calls{interpreter = py_interpreter:flush(Interpreter)}.

-spec is_pending(calls()) -> boolean().
is_pending(#calls{interpreter = undefined}) -> false;
is_pending(#calls{interpreter = Interpreter}) -> py_interpreter:is_pending(Interpreter).

%% @doc Give an answer to its caller; one that the worker itself waits for is returned. `error': no call has that id.
-spec answer(py_wire:id(), binary(), calls()) -> {answered, calls()} | {step(), calls()} | error.
answer(Id, Frame, #calls{sent = Sent} = Calls) ->
    case py_inflight:answer(Id, Sent) of
        {#{from := Step}, Left} when is_atom(Step) ->
            {Step, watch_running(Calls#calls{sent = Left})};
        {#{from := From} = Call, Left} ->
            reply(From, frame(Frame, Calls#calls.budget)),
            unwatch(Call),
            {answered, watch_running(Calls#calls{sent = Left})};
        error ->
            error
    end.

%% @doc Give the answers that stand first among these frames to their callers, as far as that is all that there is to do with them:
%% how many, and the frames that are left.
-spec answer_all(Frames :: binary(), calls()) -> {Count :: non_neg_integer(), Frames :: binary(), calls()}.
answer_all(Frames, #calls{overdue = Overdue, sent = Sent, interpreter = Interpreter, budget = Budget} = Calls) ->
    case py_overdue:is_none(Overdue) andalso py_inflight:is_plain(Sent) andalso not py_interpreter:is_doomed(Interpreter) of
        true ->
            case give(Frames, Sent, Budget, 0) of
                {0, Left, _} -> {0, Left, Calls};
                {Count, Left, Fewer} -> {Count, Left, watch_running(Calls#calls{sent = Fewer})}
            end;
        false ->
            {0, Frames, Calls}
    end.

give(<<>>, Sent, _Budget, Count) ->
    {Count, <<>>, Sent};
give(Frames, Sent, Budget, Count) ->
    case py_wire:next(Frames) of
        {{answer, Id}, Frame, Rest} ->
            case py_inflight:answer(Id, Sent) of
                %% Not those of the worker's own.
                {#{from := From} = Call, Left} when is_reference(From) ->
                    reply(From, frame(Frame, Budget)),
                    unwatch(Call),
                    give(Rest, Left, Budget, Count + 1);
                _ ->
                    {Count, Frames, Sent}
            end;
        {request, _, _} ->
            {Count, Frames, Sent}
    end.

frame(Frame, node) -> {frame, small(Frame)};
frame(Frame, Budget) -> {frame, Frame, Budget}.

%% A part of a large binary costs more than a few bytes of one's own.
small(Frame) when byte_size(Frame) =< 64 -> binary:copy(Frame);
small(Frame) -> Frame.

-spec reply(reference(), {frame, binary(), py_atoms:budget()} | {frame, binary()} | {error, term()}) -> ok.
reply(From, Answer) ->
    From ! {From, Answer},
    ok.

%% @doc Let calls through, those that wait first.
-spec open(calls()) -> calls().
open(#calls{waiting = Waiting, overdue = Overdue} = Calls) ->
    case py_overdue:is_strained(Overdue) of
        true ->
            Calls#calls{flow = open};
        false ->
            Send = fun({Call, Body}, Acc) -> send(Call, Body, Acc) end,
            lists:foldl(Send, Calls#calls{flow = open, waiting = queue:new()}, queue:to_list(Waiting))
    end.

%% @doc Let no call through: they wait.
-spec hold(calls()) -> calls().
hold(Calls) -> Calls#calls{flow = held}.

%% @doc How many calls were sent and not answered, or wait.
-spec load(calls()) -> non_neg_integer().
load(#calls{sent = Sent, waiting = Waiting}) -> py_inflight:size(Sent) + queue:len(Waiting).

%% @doc How many were sent and not answered.
-spec open_calls(calls()) -> non_neg_integer().
open_calls(#calls{sent = Sent}) -> py_inflight:size(Sent).

%% @doc How many of these run beside the others.
-spec coroutines(calls()) -> non_neg_integer().
coroutines(#calls{sent = #{later := Later}}) -> map_size(Later).

%% @doc How many this interpreter was sent.
-spec sent(calls()) -> non_neg_integer().
sent(#calls{sent = Sent}) -> py_inflight:sent(Sent).

%%% Calls back

%% @doc Python asks Erlang something: the call with the id `Whose' waits, where it is not known its running one. With a negative
%% number it is none of them, but another thread.
-spec asked(Question :: term(), Whose :: py_wire:id() | 0 | unknown, py_request:running(), calls()) -> calls().
asked(Question, Whose, Running, #calls{sent = Sent, questions = Questions} = Calls) ->
    Noted = Calls#calls{questions = Questions#{Question => Running}},
    case is_integer(Question) andalso Question < 0 of
        true -> Noted;
        false -> watch_running(Noted#calls{sent = py_inflight:asked(Question, Whose, Sent)})
    end.

%% @doc Write the answer; `error' where nobody waits for it any more.
-spec answered(Question :: term(), iodata(), calls()) -> {ok, calls()} | error.
answered(Question, Frame, #calls{questions = Questions} = Calls) ->
    case maps:take(Question, Questions) of
        {_, Left} -> {ok, told(Question, write(Frame, Calls#calls{questions = Left}))};
        error -> error
    end.

%% @doc Nobody waits for the answer; it may come all the same.
-spec told(Question :: term(), calls()) -> calls().
told(Question, #calls{sent = Sent, alone = Alone} = Calls) ->
    watch_running(Calls#calls{sent = py_inflight:told(Question, Sent), alone = lists:delete(Question, Alone)}).

%% @doc The call with this id has its answer, and nothing runs inside it any more.
-spec goes_on(py_wire:id(), calls()) -> calls().
goes_on(Id, #calls{sent = Sent} = Calls) -> watch_running(Calls#calls{sent = py_inflight:goes_on(Id, Sent)}).

%% @doc Nobody wants the answer: what is run for it ends, and nothing is written. `error': there is no such question.
-spec dropped(Question :: term(), calls()) -> {ok, calls()} | error.
dropped(Question, #calls{questions = Questions} = Calls) ->
    case maps:take(Question, Questions) of
        {Running, Left} ->
            py_request:drop(Running),
            {ok, told(Question, Calls#calls{questions = Left})};
        error ->
            error
    end.

%% @doc Python lets no call nest in the one that has asked this: what is run for the answer may have called Python already.
-spec alone(Question :: term(), calls()) -> calls().
alone(Question, #calls{sent = Sent, waiting = Waiting, questions = Questions, alone = Alone} = Calls) ->
    case Questions of
        #{Question := Running} ->
            Open = py_inflight:all(Sent) ++ [Call || {Call, _} <- queue:to_list(Waiting)],
            Own = [From || #{from := From, caller := Caller} <- Open, py_request:is_run_by(Caller, Running)],
            Refuse = fun(From, Acc) ->
                reply(From, {error, {nested, py_inflight:depth(Sent)}}),
                cancel(From, Acc)
            end,
            lists:foldl(Refuse, Calls#calls{alone = [Question | Alone]}, Own);
        #{} ->
            Calls
    end.

%% @doc The call with this id is a coroutine: those behind it need not wait for it.
-spec later(py_wire:id(), calls()) -> calls().
later(Id, #calls{sent = Sent} = Calls) ->
    #{later := Later} = Known = py_inflight:later(Id, Sent),
    Next = watch_running(Calls#calls{sent = Known}),
    case Later of
        #{Id := #{cancelled := true}} -> hurry([Id], Next);
        #{} -> Next
    end.

%% @doc The call with this id, which is not wanted, imports something: it has more time to end.
-spec importing(py_wire:id(), calls()) -> calls().
importing(Id, #calls{sent = Sent} = Calls) -> Calls#calls{sent = py_inflight:importing(Id, Sent)}.

%% @doc Whose the references are that the call with this id has made; `nobody' where its result is not wanted.
-spec owner(py_wire:id(), calls()) -> py_owners:owner() | nobody.
owner(Id, #calls{sent = Sent}) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{cancelled := true}} -> nobody;
        {ok, #{owner := Owner}} -> Owner;
        error -> self()
    end.

%% @doc What a call with this id is cancelled by.
-spec from(py_wire:id(), calls()) -> reference() | none.
from(Id, #calls{sent = Sent}) ->
    case py_inflight:find(Id, Sent) of
        {ok, #{from := From}} when is_reference(From) -> From;
        _ -> none
    end.

%% @doc The group leader of the call that runs. While all wait for Erlang a handler or a thread may print: for the innermost of them.
-spec leader(calls()) -> pid().
leader(#calls{sent = Sent}) ->
    case py_inflight:running(Sent) of
        {_, #{group_leader := Leader}} -> Leader;
        none -> of_innermost(Sent)
    end.

of_innermost(#{stack := [{Innermost, _, _} | _], open := Open}) ->
    case Open of
        #{Innermost := #{group_leader := Leader}} -> Leader;
        #{} -> group_leader()
    end;
of_innermost(_Sent) ->
    group_leader().

%% @doc Let out what Python says unasked, for whoever called it.
-spec output(py_outlet:output(), Bytes :: non_neg_integer(), map(), calls()) -> calls().
output(Output, Bytes, Metadata, #calls{interpreter = Interpreter, sent = Sent} = Calls) ->
    Leader = leader(Calls),
    Whose = {Leader, py_inflight:waits(Leader, Sent)},
    Calls#calls{interpreter = py_interpreter:output(Output, Bytes, Whose, Metadata, Interpreter)}.

%% @doc That was all for the moment.
-spec settle(calls()) -> calls().
settle(#calls{interpreter = undefined} = Calls) -> Calls;
settle(#calls{interpreter = Interpreter} = Calls) -> Calls#calls{interpreter = py_interpreter:settle(Interpreter)}.

%%% Calls that nobody wants any more

%% @doc Cancel what belongs to an alias, or to the monitor of a caller that has died.
-spec cancel(reference(), calls()) -> calls().
cancel(From, #calls{sent = Sent, waiting = Waiting} = Calls) ->
    case py_inflight:cancel(From, Sent) of
        {[], _} ->
            {Unwanted, Kept} = lists:partition(fun({Call, _}) -> py_inflight:is_of(From, Call) end, queue:to_list(Waiting)),
            lists:foreach(fun({Call, _}) -> unwatch(Call) end, Unwanted),
            Calls#calls{waiting = queue:from_list(Kept)};
        {Ids, Marked} ->
            py_events:emit([call, cancel], #{}, #{calls => length(Ids), worker => self()}),
            {All, Without} = with_inner(Ids, Calls#calls{sent = Marked}),
            Tell = fun(Id, Acc) -> write(py_wire:cancel(Id), Acc) end,
            watch_running(hurry(All, lists:foldl(Tell, Without, All)))
    end.

%% What an unwanted call has asked may have called Python again: nobody wants that either.
with_inner(Ids, #calls{sent = Sent, questions = Questions} = Calls) ->
    case [Running || Id <- Ids, {ok, Question} <- [py_inflight:question(Id, Sent)], {ok, Running} <- [maps:find(Question, Questions)]] of
        [] ->
            {Ids, Calls};
        Asked ->
            {Inner, Marked} = py_inflight:cancel_of(fun(Pid) -> lists:any(fun(R) -> py_request:is_run_by(Pid, R) end, Asked) end, Sent),
            case Inner of
                [] -> {Ids, Calls};
                _ ->
                    [tell_cancelled(py_inflight:find(Id, Marked)) || Id <- Inner],
                    {All, Next} = with_inner(Inner, Calls#calls{sent = Marked}),
                    {Ids ++ All, Next}
            end
    end.

%% Its caller waits, whatever Python makes of it.
tell_cancelled({ok, #{from := From}}) when is_reference(From) -> reply(From, {error, cancelled}).

%% A coroutine ends as soon as Python reads that it is unwanted: where another call runs, it must be made to. One that does
%% not end holds up its event loop, and the others with it.
hurry(Ids, #calls{sent = #{later := Later} = Sent, overdue = Overdue} = Calls) ->
    case [From || Id <- Ids, #{from := From} <- [maps:get(Id, Later, none)]] of
        [] ->
            Calls;
        Unwanted ->
            _ = erlang:start_timer(py_overdue:kill_after(Overdue), self(), {later, Unwanted}),
            #calls{interpreter = Interpreter} = Flushed = flush(Calls),
            _ = [py_interpreter:interrupt(Interpreter) || py_inflight:running(Sent) =/= none],
            Flushed
    end.

%% @doc A timer of this module's has run out; `kill': an unwanted call has had its time, and whether it is in an import.
-spec timeout(term(), calls()) -> {ok | {kill, IsImporting :: boolean()}, calls()} | unknown.
timeout({timeout, Timer, tick}, #calls{sent = Sent, interpreter = Interpreter, overdue = Overdue} = Calls) ->
    case py_overdue:tick(Timer, Sent, Interpreter, Overdue) of
        {ok, Next} -> {ok, eased(Calls, Calls#calls{overdue = Next})};
        {Kill, Next} -> {Kill, Calls#calls{overdue = Next}};
        unknown -> unknown
    end;
timeout({timeout, _, {later, Unwanted}}, #calls{sent = #{later := Later}} = Calls) ->
    case [From || #{from := From} <- maps:values(Later), lists:member(From, Unwanted)] of
        [] -> {ok, Calls};
        _ -> {{kill, false}, Calls}
    end;
timeout({timeout, Timer, watch}, #calls{watch_timer = {Timer, Sent}} = Calls) ->
    {ok, watch_callers(Sent, Calls#calls{watch_timer = undefined})};
timeout(_, _) ->
    unknown.

%% Something has changed that may make an unwanted call the one that Python is busy with, or end it.
watch_running(#calls{sent = Sent, overdue = Overdue} = Calls) ->
    case py_overdue:is_quiet(Sent, Overdue) of
        true ->
            Calls;
        false ->
            %% It is to read what it is interrupted for.
            #calls{interpreter = Interpreter} = Flushed = flush(Calls),
            eased(Calls, Flushed#calls{overdue = py_overdue:look(Sent, Interpreter, Overdue)})
    end.

%% What waited goes on.
eased(#calls{overdue = Before}, #calls{flow = open, overdue = Overdue} = Calls) ->
    case py_overdue:is_strained(Before) andalso not py_overdue:is_strained(Overdue) of
        true -> open(Calls);
        false -> Calls
    end;
eased(_Before, Calls) ->
    Calls.

%% Nearly all calls are over before it would be worth to watch their callers: those that are not are found by a timer.
watched(#calls{watch_timer = undefined, sent = Sent} = Calls) ->
    Calls#calls{watch_timer = {erlang:start_timer(?WATCH_MS, self(), watch), py_inflight:sent(Sent)}};
watched(Calls) ->
    Calls.

watch_callers(Before, #calls{sent = Sent, waiting = Waiting} = Calls) ->
    Watched = Calls#calls{
        sent = py_inflight:watch(Before, fun watch/1, Sent), waiting = queue:filtermap(fun watch_waiting/1, Waiting)
    },
    case load(Calls) of
        0 -> Watched;
        _ -> watched(looked(Watched))
    end.

%% Whoever waits is told at once when its Python has ended without a word.
looked(#calls{interpreter = undefined} = Calls) -> Calls;
looked(#calls{interpreter = Interpreter} = Calls) -> py_interpreter:look(Interpreter), Calls.

watch_waiting({#{monitor := _}, _}) -> true;
watch_waiting({#{caller := Caller} = Call, Body}) -> {true, {Call#{monitor => watch(Caller)}, Body}}.

watch(Caller) -> monitor(process, Caller).

unwatch(#{monitor := Monitor}) -> demonitor(Monitor, [flush]);
unwatch(_) -> true.

%%% The end of the interpreter, or of the worker

%% @doc The interpreter has ended after it had begun this many calls: those that it had get the error, the others go back to
%% their callers, who know what to do with `moved'.
-spec fail_sent(Begun :: non_neg_integer() | unknown, {error, term()}, calls()) -> calls().
fail_sent(Begun, Error, #calls{sent = Sent, overdue = Overdue} = Calls) ->
    {Lost, Untouched} = py_inflight:split(Begun, Sent),
    answer_each(Lost, Error),
    answer_each(Untouched, {error, moved}),
    end_questions(Error, Calls),
    Calls#calls{sent = py_inflight:new(), overdue = py_overdue:reset(Overdue), questions = #{}, alone = []}.

%% What Python had asked runs to its end, as after any death of whoever asked; but not for calls that are not wanted.
end_questions({error, {worker_down, {deadline, killed}}}, #calls{questions = Questions}) ->
    lists:foreach(fun py_request:drop/1, maps:values(Questions));
end_questions(_Error, _Calls) ->
    ok.

-spec fail_waiting({error, term()}, calls()) -> calls().
fail_waiting(Error, #calls{waiting = Waiting} = Calls) ->
    answer_each([Call || {Call, _} <- queue:to_list(Waiting)], Error),
    Calls#calls{waiting = queue:new()}.

-spec give_back_waiting(calls()) -> calls().
give_back_waiting(Calls) -> fail_waiting({error, moved}, Calls).

answer_each(Some, Answer) ->
    lists:foreach(
        fun(#{from := From} = Call) ->
            unwatch(Call),
            is_reference(From) andalso reply(From, Answer)
        end,
        Some
    ).
