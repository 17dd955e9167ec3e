%%% @doc The calls that a worker has in hand, and the interpreter that they go through: those that wait, those that Python
%%% was sent.
%%%
%%% Belongs to the worker process, which hands it the messages `{timeout, Timer, Event}' that it has asked for. Callers get
%%% `{Alias, {frame, Frame}}' or `{Alias, {error, Reason}}', once; `{Alias, {frame, Frame, Budget}}' where the frame is a
%%% sandboxed Python's, which is to be read with care.
%%%
%%% Those that could go to another worker wait here until there is room in the pipe, or that worker: see "Work that moves" in
%%% docs/architecture.md. Those that nobody wants any more are {@link py_unwanted}'s.
%%% @private
-module(py_calls).

-export([new/4, attach/2, keeps_limit/1, detach/1, interpreter/1, update/2]).
-export([accept/3, accept_all/2, internal/3, write/2, flush/1, is_pending/1, answer/3, answer_all/2, reply/2]).
-export([cancel/3, timeout/2, asked/4, answered/3, told/2, goes_on/2, dropped/2, alone/2, later/2, importing/2]).
-export([output/5, settle/1]).
-export([open/1, hold/1, load/1, beside/1, open_calls/1, is_left_alone/1, coroutines/1, sent/1]).
-export([fail_sent/3, fail_waiting/2, give_back_waiting/1, take_back/2, unbegun/2, share/1, moved/1]).
-export_type([calls/0, step/0]).

-include("py_calls.hrl").

-type step() :: configure | import | on_start | threads | released | leave.
%% A call of the worker's own.

%% @doc No calls; the answers' new atoms are this budget's.
-spec new(py_config:pool_name(), py_figures:figures(), py_config:pool(), py_atoms:budget()) -> calls().
new(Pool, Figures, #{max_queue := MaxQueue, threads := Threads, coroutines := Coroutines} = Config, Budget) ->
    #calls{
        pool = Pool, figures = Figures, overdue = py_overdue:new(Config), max_queue = MaxQueue, budget = Budget,
        threads = Threads, coroutines = Coroutines
    }.

%% @doc A new interpreter; the calls that wait are for it.
-spec attach(py_interpreter:interpreter(), calls()) -> calls().
attach(Interpreter, Calls) ->
    Calls#calls{interpreter = Interpreter, sent = py_inflight:new(), window = py_window:new(), has_limit = false, taken = #{}}.

%% @doc It lets calls be taken back.
-spec keeps_limit(calls()) -> calls().
keeps_limit(Calls) -> Calls#calls{has_limit = true}.

-spec detach(calls()) -> calls().
detach(Calls) -> Calls#calls{interpreter = undefined, flow = held}.

-spec interpreter(calls()) -> undefined | py_interpreter:interpreter().
interpreter(#calls{interpreter = Interpreter}) -> Interpreter.

-spec update(py_interpreter:interpreter(), calls()) -> calls().
update(Interpreter, Calls) -> Calls#calls{interpreter = Interpreter}.

%%% In and out

%% @doc Take a call: it is sent, waits, or gets `overload'.
-spec accept(map(), py_wire:body(), calls()) -> calls().
accept(#{from := From} = Call, Body, #calls{waiting = Waiting} = Calls) ->
    case is_full(Calls) of
        true ->
            py_events:emit([queue, full], #{waiting => py_waiting:size(Waiting)}, #{worker => self()}),
            py_figures:count(overload, 1, Calls#calls.figures),
            reply(From, {error, overload}),
            Calls;
        false ->
            case py_nesting:is_too_deep(Call, Calls) of
                true ->
                    py_figures:count(nested, 1, Calls#calls.figures),
                    reply(From, {error, {nested, py_nesting:depth(Calls)}}),
                    Calls;
                false ->
                    accepted(Call, Body, Calls)
            end
    end.

is_full(#calls{max_queue = infinity}) -> false;
is_full(Calls) -> py_waiting:is_full(load(Calls), coroutines(Calls), Calls#calls.max_queue, Calls#calls.threads, Calls#calls.coroutines).

accepted(Call, Body, Calls) ->
    case is_open(Calls) andalso is_let_through(Call, Calls) of
        true -> py_unwanted:watched(send(Call, Body, Calls));
        false -> py_unwanted:watched(wait(Call, Body, Calls))
    end.

is_let_through(Call, #calls{threads = 1} = Calls) -> not is_free(Call) orelse room(Calls) > 0 orelse not keeps_back(Calls);
%% What a call waits for that waits for Erlang goes first.
is_let_through(Call, Calls) -> room(Calls) > 0 orelse py_nesting:is_asked_for(Call, Calls).

is_free(Call) -> maps:get(free, Call, false).

%% @doc The same for some, in order.
-spec accept_all([{map(), py_wire:body()}], calls()) -> calls().
accept_all(Some, #calls{max_queue = infinity, threads = 1, sent = Sent} = Calls) ->
    case is_open(Calls) andalso py_inflight:is_plain(Sent) of
        true -> py_unwanted:watched(admit(Some, room(Calls), Calls));
        false -> accept_each(Some, Calls)
    end;
accept_all(Some, Calls) ->
    accept_each(Some, Calls).

accept_each(Some, Calls) -> lists:foldl(fun({Call, Body}, Acc) -> accept(Call, Body, Acc) end, Calls, Some).

admit(Some, Room, Calls) when length(Some) =< Room ->
    send_all(Some, Calls);
admit(Some, Room, Calls) ->
    case keeps_back(Calls) of
        true ->
            {Go, Stay} = admitted(Some, Room, [], []),
            Wait = fun({Call, Body}, Acc) -> wait(Call, Body, Acc) end,
            lists:foldl(Wait, send_all(Go, Calls), Stay);
        false ->
            send_all(Some, Calls)
    end.

admitted([{#{free := true}, _} = Call | Rest], 0, Go, Stay) -> admitted(Rest, 0, Go, [Call | Stay]);
admitted([{#{free := true}, _} = Call | Rest], Room, Go, Stay) -> admitted(Rest, Room - 1, [Call | Go], Stay);
admitted([Call | Rest], Room, Go, Stay) -> admitted(Rest, Room, [Call | Go], Stay);
admitted([], _Room, Go, Stay) -> {lists:reverse(Go), lists:reverse(Stay)}.

send_all(Some, Calls) -> send_all(Some, fun py_window:began/2, Calls).

send_all([], _How, Calls) ->
    Calls;
send_all(Some, How, Before) ->
    #calls{sent = Sent, interpreter = Interpreter} = Calls = began(How, Before),
    {Frames, More} = py_inflight:add_all(Some, fun py_wire:framed_call/2, Sent),
    Calls#calls{sent = More, interpreter = py_interpreter:write_all(Frames, length(Frames), Interpreter)}.

%% How many more may be written of those that could go to another worker; of all, where they run in threads.
room(#calls{threads = Threads, sent = Sent, waiting = Waiting}) when Threads > 1 ->
    case py_waiting:size(Waiting) of
        0 -> py_window:room_of_threads(py_inflight:in_line(Sent), py_inflight:asking(Sent), Threads);
        _ -> 0
    end;
room(#calls{sent = Sent, waiting = Waiting, window = Window}) ->
    case py_waiting:free(Waiting) of
        0 -> py_window:room(py_inflight:in_line(Sent), now_us(), Window);
        _ -> 0
    end.

%% Whether another worker may have them, or they count: given up, only these leave at once. What is sent may be what a call waits for.
keeps_back(#calls{sent = Sent, pool = Pool, max_queue = Most}) ->
    not py_inflight:is_waited(Sent) andalso (Most =/= infinity orelse py_registry:shares_work(Pool)).

began(How, #calls{sent = Sent, window = Window} = Calls) ->
    Calls#calls{window = case py_inflight:in_line(Sent) of 0 -> How(now_us(), Window); _ -> Window end}.

now_us() -> erlang:monotonic_time(microsecond).

wait(Call, Body, #calls{waiting = Waiting} = Calls) ->
    Longer = py_waiting:in(Call, Body, Waiting),
    py_events:emit([queue, wait], #{waiting => py_waiting:size(Longer)}, #{worker => self()}),
    Calls#calls{waiting = Longer}.

%% What is not sent to an interpreter that is ending, or that may be killed soon, need not die along.
is_open(#calls{flow = open, interpreter = Interpreter, overdue = Overdue}) ->
    not (py_overdue:is_strained(Overdue) orelse py_interpreter:is_doomed(Interpreter) orelse py_interpreter:is_gone(Interpreter));
is_open(_) ->
    false.

%% @doc A call of the worker's own; its answer comes back from {@link answer/3}.
-spec internal(step(), py_wire:body(), calls()) -> calls().
internal(Step, Body, Calls) -> send(#{from => Step, owner => self(), group_leader => group_leader()}, Body, Calls).

send(Call, Body, Calls) -> sent(Call, Body, began(fun py_window:began/2, Calls)).

sent(Call, Body, #calls{sent = Sent} = Calls) ->
    {Id, More} = py_inflight:add(py_timing:sent(Call, Calls), Sent),
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
            {Step, given(1, Calls#calls{sent = Left})};
        {#{from := From} = Call, Left} ->
            {Answer, Began} = py_answers:ended(py_timing:apart(Call, Calls), Frame, Calls#calls.began, Calls),
            reply(From, Answer),
            py_unwanted:unwatch(Call),
            {answered, given(1, Calls#calls{sent = Left, began = Began})};
        error when is_map_key(Id, Calls#calls.taken) ->
            {answered, Calls};
        error ->
            error
    end.

%% @doc Give the answers that stand first among these frames to their callers, as far as that is all that there is to do with them:
%% how many, and the frames that are left.
-spec answer_all(Frames :: binary(), calls()) -> {Count :: non_neg_integer(), Frames :: binary(), calls()}.
answer_all(Frames, #calls{overdue = Overdue, sent = Sent, interpreter = Interpreter} = Calls) ->
    case py_overdue:is_none(Overdue) andalso py_inflight:is_plain(Sent) andalso not py_interpreter:is_doomed(Interpreter) of
        true ->
            case py_answers:give(Frames, Calls) of
                {0, Left, _} -> {0, Left, Calls};
                {Count, Left, Fewer} -> {Count, Left, given(Count, Fewer)}
            end;
        false ->
            {0, Frames, Calls}
    end.

%% So many answers have come.
given(Count, #calls{window = Window, read_us = Now} = Calls) ->
    go_on(look(Calls#calls{window = py_window:answered(Count, Now, Window)})).

%% What waits is written as far as there is room. Bound calls don't wait here, but for threads.
go_on(#calls{waiting = Waiting, sent = Sent, window = Window, threads = Threads} = Calls) ->
    case py_waiting:size(Waiting) > 0 andalso is_open(Calls) of
        true when Threads > 1 ->
            go_on(py_window:room_of_threads(py_inflight:in_line(Sent), py_inflight:asking(Sent), Threads), Calls);
        true ->
            case keeps_back(Calls) of
                true -> go_on(py_window:room(py_inflight:in_line(Sent), now_us(), Window), Calls);
                false -> go_on(infinity, Calls)
            end;
        false ->
            Calls
    end.

go_on(0, Calls) ->
    Calls;
go_on(Room, #calls{waiting = Waiting} = Calls) ->
    {Some, Left} = py_waiting:out(Room, Waiting),
    Goes = [{py_timing:sent(Call, Calls), Body} || {Call, Body} <- Some],
    send_all(Goes, fun py_window:goes_on/2, Calls#calls{waiting = Left}).

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
            Accept = fun({Call, Body}, Acc) -> accepted(Call, Body, Acc) end,
            lists:foldl(Accept, Calls#calls{flow = open, waiting = py_waiting:new()}, py_waiting:to_list(Waiting))
    end.

%% @doc Let no call through: they wait.
-spec hold(calls()) -> calls().
hold(Calls) -> Calls#calls{flow = held}.

%% @doc How many calls were sent and not answered, or wait.
-spec load(calls()) -> non_neg_integer().
load(#calls{sent = Sent, waiting = Waiting}) -> py_inflight:size(Sent) + py_waiting:size(Waiting).

%% @doc How many of them hold up no call that is still to come, whatever the pool's `max_queue' says.
-spec beside(calls()) -> non_neg_integer().
beside(#calls{coroutines = infinity} = Calls) -> coroutines(Calls);
beside(_Calls) -> 0.

%% @doc How many were sent and not answered.
-spec open_calls(calls()) -> non_neg_integer().
open_calls(#calls{sent = Sent}) -> py_inflight:size(Sent).

%% @doc Whether all of them were given up: they run in threads that nothing interrupts.
-spec is_left_alone(calls()) -> boolean().
is_left_alone(#calls{sent = Sent, overdue = Overdue}) -> py_overdue:left_alone(Sent, Overdue).

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
asked(Question, Whose, Running, #calls{questions = Questions} = Calls) ->
    Noted = Calls#calls{questions = Questions#{Question => Running}, sent = py_timing:begun(Whose, Calls)},
    case is_integer(Question) andalso Question < 0 of
        true -> go_on(Noted#calls{sent = py_inflight:asks(Question, Whose, Noted#calls.sent)});
        false -> go_on(look(Noted#calls{sent = py_inflight:asked(Question, Whose, Noted#calls.sent)}))
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
    look(Calls#calls{sent = py_inflight:told(Question, Sent), alone = lists:delete(Question, Alone)}).

%% @doc The call with this id has its answer, and nothing runs inside it any more.
-spec goes_on(py_wire:id(), calls()) -> calls().
goes_on(Id, #calls{sent = Sent} = Calls) -> look(Calls#calls{sent = py_inflight:goes_on(Id, Sent)}).

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
            Open = py_inflight:all(Sent) ++ py_waiting:calls(Waiting),
            Own = [From || #{from := From, caller := Caller} <- Open, py_request:is_run_by(Caller, Running)],
            Refuse = fun(From, Acc) ->
                reply(From, {error, {nested, py_inflight:depth(Sent)}}),
                cancel(From, nested, Acc)
            end,
            lists:foldl(Refuse, Calls#calls{alone = [Question | Alone]}, Own);
        #{} ->
            Calls
    end.

%% @doc The call with this id is a coroutine: those behind it need not wait for it.
-spec later(py_wire:id(), calls()) -> calls().
later(Id, Calls) ->
    #{later := Later} = Known = py_inflight:later(Id, py_timing:begun(Id, Calls)),
    Next = given(1, Calls#calls{sent = Known}),
    case Later of
        #{Id := #{cancelled := true}} -> py_unwanted:hurry([Id], Next);
        #{} -> Next
    end.

%% @doc Ask for what has not begun, and would wait for a thread: for what may go to any worker, or for all.
-spec take_back(free | all, calls()) -> calls().
take_back(_Which, #calls{interpreter = Interpreter, threads = Threads} = Calls) when Threads =:= 1; Interpreter =:= undefined ->
    Calls;
take_back(Which, #calls{interpreter = Interpreter, sent = Sent, threads = Threads} = Calls) ->
    {Ids, Marked} = py_inflight:asked_back(Which, py_interpreter:begun(Interpreter), Threads, Sent),
    flush(lists:foldl(fun(Id, Acc) -> write(py_wire:take_back(Id), Acc) end, Calls#calls{sent = Marked}, Ids)).

%% @doc The call with this id has not begun, and will not: another worker may have it, if it is wanted.
-spec unbegun(py_wire:id(), calls()) -> calls().
unbegun(Id, #calls{sent = Sent} = Calls) ->
    case py_inflight:taken_back(Id, Sent) of
        {#{cancelled := IsUnwanted} = Call, Left} ->
            answer_each([Call || not IsUnwanted], {error, moved}),
            py_unwanted:unwatch(Call),
            given(1, Calls#calls{sent = Left});
        error ->
            Calls
    end.

%% @doc The call with this id, which is not wanted, imports something: it has more time to end.
-spec importing(py_wire:id(), calls()) -> calls().
importing(Id, #calls{sent = Sent} = Calls) -> Calls#calls{sent = py_inflight:importing(Id, Sent)}.

%% @doc Let out what Python says unasked, for whoever called it: for the call with this id, or for the one that runs.
-spec output(py_wire:id() | running, py_outlet:output(), Bytes :: non_neg_integer(), map(), calls()) -> calls().
output(Id, Output, Bytes, Metadata, #calls{interpreter = Interpreter} = Calls) ->
    Whose = py_whose:reader(Id, Calls),
    Calls#calls{interpreter = py_interpreter:output(Output, Bytes, Whose, Metadata, Interpreter)}.

%% @doc That was all for the moment.
-spec settle(calls()) -> calls().
settle(#calls{interpreter = undefined} = Calls) -> Calls;
settle(#calls{interpreter = Interpreter} = Calls) -> Calls#calls{interpreter = py_interpreter:settle(Interpreter)}.

%%% Calls that nobody wants any more

%% @doc Cancel what belongs to an alias, or to the monitor of a caller that has died.
-spec cancel(reference(), Why :: timeout | cancelled | nested, calls()) -> calls().
cancel(From, Why, Calls) ->
    case py_unwanted:mark(From, Why, Calls) of
        {[], Fewer} ->
            Fewer;
        {Ids, Marked} ->
            Tell = fun(Id, Acc) -> write(py_wire:cancel(Id), Acc) end,
            look(py_unwanted:hurry(Ids, py_unwanted:note(Ids, lists:foldl(Tell, Marked, Ids))))
    end.

%% @doc A timer has run out; `kill': an unwanted call has had its time, and whether it is in an import; `abandon': it is in a
%% thread, beside others. `unknown': it is none of these.
-spec timeout(term(), calls()) -> {ok | abandon | {kill, IsImporting :: boolean()}, calls()} | unknown.
timeout(Timeout, Calls) ->
    case py_unwanted:timeout(Timeout, Calls) of
        {ok, Next} -> {ok, eased(Calls, Next)};
        Other -> Other
    end.

look(Calls) -> eased(Calls, py_unwanted:look(Calls)).

%% What waited goes on.
eased(#calls{overdue = Before}, #calls{flow = open, overdue = Overdue} = Calls) ->
    case py_overdue:is_strained(Before) andalso not py_overdue:is_strained(Overdue) of
        true -> open(Calls);
        false -> Calls
    end;
eased(_Before, Calls) ->
    Calls.

%%% The end of the interpreter, or of the worker

%% @doc The interpreter has ended after it had begun this many calls: those that it had get the error, the others go back to
%% their callers, who know what to do with `moved'.
-spec fail_sent(Begun :: non_neg_integer() | unknown, {error, term()}, calls()) -> calls().
fail_sent(Begun, Error, #calls{sent = Sent, overdue = Overdue} = Calls) ->
    {Lost, Untouched} = py_inflight:split(Begun, Sent),
    fail_each(Lost, Error, Calls),
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
    fail_each(py_waiting:calls(Waiting), Error, Calls),
    Calls#calls{waiting = py_waiting:new()}.

-spec give_back_waiting(calls()) -> calls().
give_back_waiting(Calls) -> fail_waiting({error, moved}, Calls).

%% @doc Let go of calls for a worker that has none: to be answered with {@link moved/1}. Some may come back later.
-spec share(calls()) -> {[map()], calls()}.
share(Calls) ->
    case py_pipe:share(Calls) of
        {[], ask, Left} -> {[], take_back(free, Left)};
        {Given, none, Left} -> {Given, Left};
        {Given, Above, Left} -> {Given, flush(write(py_wire:taken(Above), Left))}
    end.

-spec moved([map()]) -> ok.
moved(Given) -> answer_each(Given, {error, moved}).

fail_each(Some, Error, #calls{figures = Figures}) ->
    Failed = [Call || #{from := From} = Call <- Some, is_reference(From), not maps:get(cancelled, Call, false), Error =/= {error, moved}],
    py_figures:count(worker_down, length(Failed), Figures),
    answer_each(Some, Error).

answer_each(Some, Answer) ->
    lists:foreach(
        fun(#{from := From} = Call) ->
            py_unwanted:unwatch(Call),
            is_reference(From) andalso reply(From, Answer)
        end,
        Some
    ).
