%% ErlPort's spelling of messages, beside the golden conversations (`tests/vectors/conversations.txt').
-module(py_erlport_wire_tests).

-include_lib("eunit/include/eunit.hrl").

every_frame_of_the_conversations_is_the_message_that_its_text_says_test_() ->
    Lines = py_erlport_conversations:lines(),
    [
        {"there are conversations", ?_assert(length(Lines) > 50)}
        | [{Name, ?_assertEqual(Message, binary_to_term(Frame))} || {Name, _, _, Frame, Message} <- Lines]
    ].

every_frame_to_python_is_written_as_it_stands_test_() ->
    [
        {Name, ?_assertEqual(Frame, iolist_to_binary(written(Message)))}
     || {Name, _, to_python, Frame, Message} <- py_erlport_conversations:lines()
    ].

written({'C', Id, Module, Function, Args}) -> py_erlport_wire:call(Id, py_erlport_wire:body(Module, Function, Args));
written({'M', Message}) -> py_erlport_wire:message(Message);
written({r, Id, Value}) -> py_erlport_wire:result(Id, Value);
written({e, Id, Error}) -> py_erlport_wire:failure(Id, Error).

what_python_has_no_type_for_is_wrapped_test_() ->
    Terms = [self(), make_ref(), fun lists:sum/1, fun() -> ok end, hd(erlang:ports()), <<1:3>>],
    [?_assertEqual(Term, unwrapped(sent(Term))) || Term <- Terms] ++
        [?_assertMatch({'$erlport.opaque', erlang, <<Tag, _/binary>>} when Tag =/= 131, sent(Term)) || Term <- Terms].

unwrapped({'$erlport.opaque', erlang, Bytes}) -> binary_to_term(<<131, Bytes/binary>>).

it_is_wrapped_at_any_depth_test() ->
    Wrapped = sent(self()),
    ?assertEqual([{a, Wrapped}, [Wrapped | Wrapped], {}], sent([{a, self()}, [self() | self()], {}])),
    ?assertEqual([Wrapped | x], sent([self() | x])),
    ?assertEqual(#{Wrapped => [Wrapped], a => #{b => Wrapped}}, sent(#{self() => [self()], a => #{b => self()}})).

%% An exception of Python that passed through Erlang is not Erlang's.
a_failure_that_another_language_raised_is_sent_as_it_is_test_() ->
    Error = {python, 'builtins.KeyError', "k", ["line"]},
    [
        ?_assertEqual({e, 1, Sent}, binary_to_term(iolist_to_binary(py_erlport_wire:failure(1, Failure))))
     || {Sent, Failure} <- [
            {Error, Error},
            {Error, {erlang, error, Error, [{m, f, 1, []}]}},
            {{ruby, 'E', "k", []}, {erlang, error, {ruby, 'E', "k", []}, []}},
            {{erlang, exit, Error, []}, {erlang, exit, Error, []}},
            {{erlang, error, {a, b, c}, []}, {erlang, error, {a, b, c}, []}},
            {{erlang, error, {a, b, c, d}, []}, {erlang, error, {a, b, c, d}, []}}
        ]
    ].

what_it_has_a_type_for_is_sent_as_it_is_test_() ->
    [
        ?_assertEqual(Term, sent(Term))
     || Term <- [1, -1, 1 bsl 200, 1.5, a, '', 'caf\x{e9}', <<>>, <<1>>, "", "text", [300], [a | b], {}, {a, [b, {c}]}, #{}, #{a => [#{"k" => {}}]}]
    ].

%% ErlPort's own Python knows no other atom.
atoms_are_atom_ext_where_latin_1_can_test() ->
    ?assertEqual(<<131, 104, 2, 100, 1:16, $M, 100, 4:16, "caf", 16#e9>>, iolist_to_binary(py_erlport_wire:message('caf\x{e9}'))).

sent(Term) ->
    {'M', Sent} = binary_to_term(iolist_to_binary(py_erlport_wire:message(Term))),
    Sent.

compressed_frames_are_the_same_term_test_() ->
    Long = py_erlport_wire:message(lists:duplicate(10_000, a)),
    Short = py_erlport_wire:message(a),
    [
        ?_assertEqual(Long, py_erlport_wire:compress(Long, 0)),
        [
            {integer_to_list(Level), [
                ?_assertMatch(<<131, 80, _/binary>>, iolist_to_binary(py_erlport_wire:compress(Long, Level))),
                ?_assertEqual(term(Long), term(py_erlport_wire:compress(Long, Level))),
                ?_assertEqual(iolist_to_binary(Short), iolist_to_binary(py_erlport_wire:compress(Short, Level)))
            ]}
         || Level <- lists:seq(1, 9)
        ]
    ].

term(Frame) -> binary_to_term(iolist_to_binary(Frame)).
