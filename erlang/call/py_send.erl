%%% @doc One call and one worker: the body that is sent, and what the frame that comes back means.
%%% @private
-module(py_send).

-export([body/4, kept/4, kept_terms/1, around/4, keeps_objects/1, kept_bytes/1, arguments/1, mentions_references/1, mentions_shared/1, is_failure/1]).
-export([exchange/6, ask/4, answer/2, cancel/3, seen/3, read/3, stored/2]).
-export_type([entry/0, trust/0]).

-type entry() :: {wrapper, Function :: atom()} | {raw, module(), Function :: atom()}.
%% A function of Python's `erl.calls.objects', which is told how to map values; or ErlPort's message.
-type trust() :: trusted | {box, py_atoms:budget()}.
%% Whose frame it is: that of a sandboxed Python is read with care, and with new atoms of this budget only.

%% The pause before another worker is looked for, where one is being replaced.
-define(REPLACED_MS, 5).

%% @doc The encoded call. Raises `badarg' where a term has no form in Python.
-spec body(entry(), [term()], OfPool :: py_mapping:flags(), py_call_options:options()) -> py_wire:body().
body({raw, Module, Function}, Args, _OfPool, _Options) ->
    py_wire:body(Module, Function, Args);
body({wrapper, Entry}, Args, OfPool, Options) ->
    py_wire:body('erl.calls.objects', Entry, [py_mapping:flags(OfPool, Options) | Args]).

%% @doc A function and its arguments, encoded for a call that is made later. Raises `badarg' where a term has no form in Python.
-spec kept(Module :: term(), Function :: term(), [term()], [{term(), term()}]) -> py_wire:kept().
kept(Module, Function, Args, Keywords) -> py_wire:kept([Module, Function, Args, Keywords]).

%% @doc The four of them, as they were given.
-spec kept_terms(py_wire:kept()) -> [term()].
kept_terms(Kept) -> py_wire:kept_terms(Kept).

%% @doc How many bytes that is.
-spec kept_bytes(py_wire:kept()) -> non_neg_integer().
kept_bytes(Kept) -> py_wire:kept_bytes(Kept).

%% @doc The call of a function whose last arguments are what was kept, under these flags.
-spec around({module(), Function :: atom()}, py_mapping:flags(), First :: [term()], py_wire:kept()) -> py_wire:body().
around({Module, Function}, Flags, First, Kept) -> py_wire:around({'erl.calls.objects', call}, [Flags, Module, Function], First, Kept).

%% @doc Whether what was kept has references to Python's objects, or shared memory: both end before it may be used.
-spec keeps_objects(py_wire:kept()) -> boolean().
keeps_objects(Kept) -> py_wire:keeps(Kept, py_term:reference_shape()) orelse py_wire:keeps(Kept, py_term:shm_shape()).

%% @doc Whether references to Python's objects may be among the arguments.
-spec mentions_references(py_wire:body()) -> boolean().
mentions_references(Body) -> py_wire:mentions(Body, py_term:reference_shape()).

%% @doc Have a worker run it, and wait. `moved': Python has not begun it, and this worker will not have it run. With the monitor of
%% an owner the call is cancelled when that ends.
-spec exchange(py_worker:kind(), pid(), py_wire:body(), py_deadline:deadline(), py_owners:owner(), Watched :: reference() | none) ->
    {frame, binary(), trust(), Worker :: pid()} | {error, {py, py_error:reason()}} | moved.
exchange(Kind, Worker, Body, Deadline, Owner, none) ->
    case py_worker:call(Kind, Worker, Body, py_deadline:left_ms(Deadline), Owner) of
        {ok, Frame} -> {frame, Frame, trusted, Worker};
        {ok, Frame, Budget} -> {frame, Frame, {box, Budget}, Worker};
        {error, moved} -> moved;
        {error, Reason} -> {error, {py, Reason}}
    end;
exchange(Kind, Worker, Body, Deadline, Owner, Watched) ->
    Alias = ask(Kind, Worker, Body, Owner),
    receive
        {Alias, _} = Message ->
            answer(Message, Worker);
        {'DOWN', Alias, process, _, _} = Message ->
            paused(answer(Message, Worker));
        {'DOWN', Watched, process, _, _} ->
            given_up(Worker, Alias, cancelled)
    after py_deadline:left_ms(Deadline) ->
        given_up(Worker, Alias, timeout)
    end.

%% From the first line on nothing can arrive; what arrived just before still counts.
given_up(Worker, Alias, Reason) ->
    demonitor(Alias, [flush]),
    receive
        {Alias, _} = Message -> answer(Message, Worker)
    after 0 ->
        cancel(Worker, Alias, Reason),
        {error, {py, Reason}}
    end.

%% Its supervisor may be busy: a caller that looks for another one must not keep a core so.
paused({gone, Ms}) -> receive after Ms -> moved end;
paused(Answer) -> Answer.

%% @doc Have a worker run it. The answer is a message to the calling process that {@link answer/2} understands, sent at most once, or
%% the `DOWN' of the worker with the same reference.
-spec ask(py_worker:kind(), pid(), py_wire:body(), py_owners:owner()) -> reference().
ask(Kind, Worker, Body, Owner) -> py_worker:ask(Kind, Worker, Body, Owner, group_leader()).

%% @doc What a message says of a call that this worker was asked for. `gone': it is `moved' after a pause of so many milliseconds.
-spec answer({reference(), term()} | {'DOWN', reference(), process, pid(), term()}, Worker :: pid()) ->
    {frame, binary(), trust(), Worker :: pid()} | {error, {py, py_error:reason()}} | moved | {gone, Milliseconds :: pos_integer()}.
answer({_, {frame, Frame}}, Worker) -> {frame, Frame, trusted, Worker};
answer({_, {frame, Frame, Budget}}, Worker) -> {frame, Frame, {box, Budget}, Worker};
answer({Alias, {timed, Answer, WaitUs, RunUs}}, Worker) ->
    py_events:timed(Worker, WaitUs, RunUs),
    answer({Alias, Answer}, Worker);
answer({_, {error, moved}}, _Worker) -> moved;
answer({_, {error, Reason}}, _Worker) -> {error, {py, Reason}};
%% One that stops answers all that it has read.
answer({'DOWN', _, process, _, noproc}, _Worker) -> {gone, ?REPLACED_MS};
answer({'DOWN', _, process, _, shutdown}, _Worker) -> moved;
answer({'DOWN', _, process, _, {shutdown, _}}, _Worker) -> moved;
answer({'DOWN', _, process, _, Reason}, _Worker) -> {error, {py, {worker_down, Reason}}}.

%% @doc Nobody wants the answer. What is on its way already is dropped, or a message that nobody knows.
-spec cancel(pid(), reference(), Why :: timeout | cancelled) -> ok.
cancel(Worker, Alias, Why) ->
    demonitor(Alias),
    Worker ! {py_cancel, Alias, Why},
    ok.

%% @doc An answer's frame for whoever does not decode it; the errors that say that nothing was begun, since other bytes are wanted.
-spec seen(binary(), trust(), Worker :: pid()) -> {frame, binary(), trust()} | {error, {py, py_error:reason()}}.
seen(Frame, Trust, Worker) ->
    case py_wire:raises(Frame, [<<"erl.errors.ElsewhereError">>, <<"erl.errors.NoSharedMemoryError">>]) of
        false ->
            {frame, Frame, Trust};
        true ->
            case read(Frame, Trust, Worker) of
                {error, {py, {Where, _}}} = Error when Where =:= elsewhere; Where =:= no_shared_memory -> Error;
                _ -> {frame, Frame, Trust}
            end
    end.

%% @doc Whether an answer's frame is an exception, and no value.
-spec is_failure(binary()) -> boolean().
is_failure(Frame) -> not py_wire:is_result(Frame).

%% @doc Whether a frame may hold terms of shared memory.
-spec mentions_shared(binary()) -> boolean().
mentions_shared(Frame) -> py_wire:is_compressed(Frame) orelse binary:match(Frame, <<"$py.shm">>) =/= nomatch.

%% @doc The arguments in a body of the wrapper `call', as {@link body/4} was given them.
-spec arguments(py_wire:body()) -> [term()].
arguments(Body) -> tl(py_wire:arguments(Body)).

%% @doc The value or the error in the frame of an answer of this worker's.
-spec read(binary(), trust(), Worker :: pid()) -> {ok, term()} | {error, term()}.
read(Frame, Trust, Worker) ->
    case answered(Frame, Trust, Worker) of
        unreadable ->
            py_worker:distrust(Worker, Frame),
            unreadable();
        Answered ->
            Answered
    end.

%% @doc The same of a frame that Python has left in a file, or a sandboxed one has answered: no worker is distrusted for it.
-spec stored(binary(), trust()) -> {ok, term()} | {error, term()}.
stored(Frame, Trust) ->
    case answered(Frame, Trust, self()) of
        unreadable -> unreadable();
        Answered -> Answered
    end.

unreadable() -> {error, {py, {protocol, unreadable_answer}}}.

answered(Frame, {box, Budget}, Worker) ->
    case py_guard:look(Frame) of
        {refused, Text} -> {error, {py, {encode, Text}}};
        error -> unreadable;
        Looked -> guarded(py_wire:answer(Frame, Budget), Looked, Worker, Budget)
    end;
answered(Frame, trusted, _Worker) ->
    case py_wire:answer(Frame) of
        {ok, _} = Result -> Result;
        %% What the bridge itself fails with no Python says.
        {error, {py, _}} -> unreadable;
        {error, Error} -> {error, py_exception:from_python(Error)};
        {refused, Text} -> {error, {py, {encode, Text}}};
        error -> unreadable
    end.

%% What a sandboxed Python has answered.
guarded({ok, Value}, plain, _Worker, _Budget) ->
    {ok, Value};
guarded({ok, Value}, ok, Worker, _Budget) ->
    case py_guard:value(Value, Worker) of
        ok -> {ok, Value};
        {refused, Text} -> {error, {py, {encode, Text}}}
    end;
guarded({error, Error}, _Looked, _Worker, Budget) ->
    case py_guard:failure(Error, Budget) of
        {python, _, _, _} = Python -> {error, py_exception:from_python(Python)};
        Other -> {error, Other}
    end;
guarded({refused, Text}, _Looked, _Worker, _Budget) ->
    {error, {py, {encode, Text}}};
guarded(error, _Looked, _Worker, _Budget) ->
    unreadable.
