%%% Whatever bytes a Python sends, the functions that see them first give what they say they give, and need no memory without end.
-module(py_door_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MOST_WORDS, 50_000_000).

any_frame_is_read_test_() ->
    {timeout, 120, fun() -> bounded(fun any_frame/0) end}.

%% In a process of its own, which ends where it needs more.
bounded(Fun) ->
    {_, Monitor} = spawn_opt(Fun, [monitor, {max_heap_size, #{size => ?MOST_WORDS, kill => true, error_logger => true}}]),
    receive {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason) end.

any_frame() ->
    py_frames:seeded(?MODULE),
    Real = py_frames:conversations(),
    ?assert(length(Real) > 50),
    Forms = [term_to_binary(Form) || Form <- py_frames:known(self()) ++ py_frames:odd_forms(self())],
    ?assert(length(Forms) > 2_000),
    Mutated = [py_frames:mutated(Frame) || Frame <- Real ++ [term_to_binary(F) || F <- py_frames:forms(self())], _ <- lists:seq(1, 30)],
    Random = [term_to_binary(py_frames:any_term(4)) || _ <- lists:seq(1, 2_000)] ++ [py_frames:any_bytes() || _ <- lists:seq(1, 3_000)],
    lists:foreach(fun read/1, Forms ++ py_frames:odd_bytes() ++ Mutated ++ Random ++ Real).

%% The seed is printed, the frame is shown by the assertion.
read(Frame) ->
    try
        looked_at(Frame),
        routed(Frame),
        judged(Frame)
    catch
        Class:Reason:Stack -> ?assertEqual(fine, {Class, Reason, Stack, binary:part(Frame, 0, min(400, byte_size(Frame)))})
    end.

looked_at(Frame) ->
    case py_etf:look(Frame, 20_000_000) of
        {ok, Words, Handles} ->
            true = is_list(Handles),
            %% It is measured as larger than it is, and nothing that is no value escapes it.
            try binary_to_term(Frame) of
                Term ->
                    true = erts_debug:flat_size(Term) =< Words,
                    Handles =/= [] orelse (true = has_no_handle(Term))
            catch
                error:badarg -> true
            end;
        {error, Why} ->
            true = lists:member(Why, [too_large, too_many_handles, unreadable])
    end,
    case py_guard:look(Frame) of
        Looked when Looked =:= plain; Looked =:= ok; Looked =:= error -> true;
        {refused, Text} -> true = is_list(Text)
    end,
    Reads = [py_atoms:walk(Frame), py_atoms:decode(Frame, {session, atomics:new(1, [])}), py_atoms:decode(Frame)],
    true = lists:all(fun({Is, _}) -> Is =:= ok orelse Is =:= refused; (Is) -> Is =:= error end, Reads),
    true = is_binary(py_guard:visible(Frame)).

has_no_handle(Term) -> py_guard:value(Term, self()) =:= ok orelse has_marks(Term).

%% What is refused of values without handles are references and shared memory, which are made of others.
has_marks(Term) -> binary:match(term_to_binary(Term), <<"$py.">>) =/= nomatch.

routed(Frame) ->
    case py_wire:route(Frame) of
        {answer, Id} -> true = is_integer(Id);
        request -> true
    end,
    true = is_boolean(py_wire:is_result(Frame)),
    true = is_boolean(py_wire:is_compressed(Frame)),
    case py_wire:split(<<(byte_size(Frame)):32, Frame/binary, Frame/binary>>, py_wire:input(), 1 bsl 24) of
        {ok, Frames, _} -> cut(Frames);
        {error, Head} -> true = byte_size(Head) =< 64
    end.

cut(<<>>) -> true;
cut(Frames) ->
    {_, Frame, Rest} = py_wire:next(Frames),
    true = is_binary(Frame),
    cut(Rest).

judged(Frame) ->
    Budget = {session, atomics:new(1, [])},
    Guard = py_guard:new(#{sandbox => bwrap, callbacks => [{lists, sum}], control_chars => escape}),
    case py_guard:look(Frame) of
        Looked when Looked =:= plain; Looked =:= ok ->
            case py_wire:answer(Frame, Budget) of
                {ok, Value} -> valued(Looked, Value);
                {error, Error} -> failed(py_guard:failure(Error, Budget));
                {refused, _} -> true;
                error -> true
            end;
        _ ->
            true
    end,
    case py_guard:admit(Frame, Guard) of
        {ok, Next} -> verdict(py_guard:request(py_wire:request(Frame, Budget), self(), 0, Next));
        error -> true
    end,
    case byte_size(Frame) < 1_000_000 of
        true -> honest(py_wire:request(Frame), py_wire:answer(Frame));
        false -> true
    end.

valued(plain, Value) -> ok = py_guard:value(Value, self());
valued(ok, Value) ->
    case py_guard:value(Value, self()) of
        ok -> true;
        {refused, Text} -> true = is_list(Text)
    end.

failed({python, Class, Text, Trace} = Error) ->
    true = is_atom(Class) andalso is_text(Text) andalso length(Trace) >= 0,
    told(py_exception:from_python(Error)),
    has_no_escape(Error);
failed({erlang, Class, Reason, Stack} = Error) ->
    true = lists:member(Class, [error, exit, throw]),
    true = not is_tuple(Reason) orelse Reason =:= {} orelse element(1, Reason) =/= py orelse tuple_size(Reason) =/= 2,
    true = lists:all(fun({_, _, Arity, _}) -> is_integer(Arity) end, Stack),
    ok = py_guard:value(Error, self()),
    told(Error),
    has_no_escape(Error);
failed({py, {Kind, _}} = Error) ->
    true = lists:member(Kind, [protocol, encode]),
    told(Error).

%% As a terminal would get it.
has_no_escape(Error) -> nomatch = binary:match(term_to_binary(Error), <<27, "[">>).

verdict({do, Request, _}) -> true = is_tuple(Request);
verdict({drop, _}) -> true;
verdict({warn, Text, _}) -> true = is_text(Text);
verdict(doom) -> true.

%% What a Python that is trusted asks is done, or is an error; and what it raises can be printed.
honest(Request, Answer) ->
    Context = #{group_leader => quiet(), metadata => #{}, callbacks => none},
    case py_request:run(quietly(Request), {self(), 1}, Context) of
        ok -> true;
        {Kind, _} when Kind =:= later; Kind =:= told; Kind =:= asked; Kind =:= importing; Kind =:= dropped -> true;
        {own, Id, Made} -> true = is_integer(Id) andalso length(Made) >= 0;
        error -> true;
        _ -> true
    end,
    case Answer of
        {error, Error} ->
            Converted = py_exception:from_python(Error),
            told(Converted),
            told({py, {start, tea, {on_start, Converted}}});
        _ -> true
    end,
    flush().

%% Nothing is logged by thousands, nor sent to others.
quietly({handler_error, Error}) -> told(Error), error;
quietly({message, To, {'$py.log', {Level, Name, Text, File, Line}}}) when To =:= self() ->
    {message, To, {'$py.log', {if is_atom(Level) -> debug; true -> Level end, Name, Text, File, Line}}};
quietly({message, To, Message}) when is_pid(To), To =:= self() -> {message, To, Message};
quietly({message, To, _}) when is_pid(To); is_port(To) -> error;
quietly(Request) -> Request.

quiet() -> self().

flush() ->
    receive _ -> flush() after 0 -> true end.

told(Error) -> true = is_text(py_error:text(Error)).

is_text(Text) -> is_binary(unicode:characters_to_binary(Text)).

%% The bridge's texts of what Python raised, whatever that is.
any_error_is_told_test() ->
    py_frames:seeded(any_error),
    Errors = [py_frames:any_term(3) || _ <- lists:seq(1, 1_000)] ++ [E || {e, _, E} <- py_frames:odd_forms(self())],
    [
        begin
            told(Error),
            told({py, {encode, Error}}),
            told({py, {worker_down, Error}}),
            true = is_text(py_error:start_text(Error)),
            true = is_text(py_error:start_text({configure, Error})),
            true = is_text(py_error:start_text({on_start, py_exception:from_python(Error)}))
        end
     || Error <- Errors
    ],
    ok.
