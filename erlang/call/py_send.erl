%%% @doc One call and one worker: the body that is sent, and what the frame that comes back means.
-module(py_send).

-export([body/4, mentions_references/1, run/4]).
-export_type([entry/0]).

-type entry() :: {wrapper, Function :: atom()} | {raw, module(), Function :: atom()}.
%% A function of Python's `erl.objects', which is told how to map values; or ErlPort's message.

%% @doc The encoded call. Raises `badarg' where a term has no form in Python.
-spec body(entry(), [term()], OfPool :: py_mapping:flags(), py_call_options:options()) -> py_wire:body().
body({raw, Module, Function}, Args, _OfPool, _Options) ->
    py_wire:body(Module, Function, Args);
body({wrapper, Entry}, Args, OfPool, Options) ->
    py_wire:body('erl.objects', Entry, [py_mapping:flags(OfPool, Options) | Args]).

%% @doc Whether references to Python's objects may be among the arguments.
-spec mentions_references(py_wire:body()) -> boolean().
mentions_references(Body) -> py_wire:mentions(Body, py_term:reference_shape()).

%% @doc Have a worker run it. `moved': Python has not begun it, and this worker will not have it run.
-spec run(pid(), py_wire:body(), py_deadline:deadline(), py_owners:owner()) -> {ok, term()} | {error, term()} | moved.
run(Worker, Body, Deadline, Owner) ->
    case py_worker:call(Worker, Body, py_deadline:left_ms(Deadline), Owner) of
        {ok, Frame, Budget} ->
            case py_guard:look(Frame) of
                {refused, Text} -> {error, {py, {encode, Text}}};
                error -> unreadable(Worker, Frame);
                Looked -> guarded(py_wire:answer(Frame, Budget), Looked, Worker, Frame, Budget)
            end;
        {ok, Frame} ->
            case py_wire:answer(Frame) of
                {ok, Value} ->
                    {ok, Value};
                %% What the bridge itself fails with no Python says.
                {error, {py, _}} ->
                    unreadable(Worker, Frame);
                {error, Error} ->
                    {error, py_exception:from_python(Error)};
                {refused, Text} ->
                    {error, {py, {encode, Text}}};
                error ->
                    unreadable(Worker, Frame)
            end;
        {error, moved} ->
            moved;
        {error, Reason} ->
            {error, {py, Reason}}
    end.

%% What a sandboxed Python has answered.
guarded({ok, Value}, plain, _Worker, _Frame, _Budget) ->
    {ok, Value};
guarded({ok, Value}, ok, Worker, _Frame, _Budget) ->
    case py_guard:value(Value, Worker) of
        ok -> {ok, Value};
        {refused, Text} -> {error, {py, {encode, Text}}}
    end;
guarded({error, Error}, _Looked, _Worker, _Frame, Budget) ->
    case py_guard:failure(Error, Budget) of
        {python, _, _, _} = Python -> {error, py_exception:from_python(Python)};
        Other -> {error, Other}
    end;
guarded({refused, Text}, _Looked, _Worker, _Frame, _Budget) ->
    {error, {py, {encode, Text}}};
guarded(error, _Looked, Worker, Frame, _Budget) ->
    unreadable(Worker, Frame).

unreadable(Worker, Frame) ->
    py_worker:distrust(Worker, Frame),
    {error, {py, {protocol, unreadable_answer}}}.
