"""Personal names: a vocabulary written for this generator, by origin and from common to rare.

The order is our own rough sense of how common a name is, not a published frequency table.
"""

from __future__ import annotations

from dataclasses import dataclass

from .draw import Draw, Weighted, ranked, words


@dataclass(frozen=True)
class Origin:
    """Names that tend to go together; each list runs from common to rare."""

    female: Weighted[str]
    male: Weighted[str]
    surnames: Weighted[str]


def _origin(female: str, male: str, surnames: str) -> Origin:
    return Origin(*(ranked(words(names)) for names in (female, male, surnames)))


_ENGLISH = _origin(
    """Sarah Emma Emily Jessica Olivia Charlotte Elizabeth Jennifer Amelia Mary Lauren Rebecca Hannah Lucy Sophie Grace
    Susan Margaret Chloe Katherine Rachel Anna Laura Helen Karen Amy Julie Nicole Michelle Megan Samantha Ruby Isabella
    Mia Ella Victoria Alice Patricia Linda Barbara Christine Deborah Natalie Danielle Stephanie Georgia Zoe Madison
    Abigail Eleanor Caroline Jane Claire Louise Alison Catherine Anne Ann Judith Joan Dorothy Heather Kelly Kim Leah
    Molly Evie Poppy Isla Holly Jasmine Imogen Phoebe Matilda Harriet Rosemary Pamela Sandra Janet Carol Diane Kathleen
    Frances Jacqueline Tracey Sharon Wendy Tina Melissa Amanda Kate Rose Beatrice Florence Ivy Violet Daisy Freya Tessa
    Brooke Paige Hayley Kylie Tara Erin Bronwyn Gwen Penelope Philippa Joanne Josephine Marjorie Edith Gillian Hazel
    Tiffany Courtney Kirsten Monica Veronica Naomi Abby Alexandra Annabel Bethany Cassandra Cheryl Denise Elaine Esther
    Gail Gemma Irene Jill June Lesley Lillian Lorraine Lydia Lynette Marion Maureen Nadine Nina Norma Priscilla Renee
    Rhonda Robyn Ruth Sally Shirley Sienna Stella Sylvia Teresa Valerie Vanessa Winifred Yvonne Zara""",
    """James John William Thomas Jack Michael David Daniel Matthew Joshua Christopher Oliver Andrew Robert Benjamin
    Samuel Joseph Alexander Luke Ryan Adam Mark Peter Paul George Charles Harry Richard Stephen Nicholas Ethan Jacob
    Noah Liam Lachlan Edward Henry Anthony Jonathan Timothy Patrick Simon Ian Kevin Brian Kenneth Graham Stuart Scott
    Craig Gary Steven Philip Martin Alan Nathan Aaron Dylan Max Leo Oscar Archie Freddie Alfie Toby Jake Connor Callum
    Cameron Jordan Kyle Blake Cooper Hunter Mason Logan Tyler Zachary Dominic Gregory Jeffrey Raymond Ronald Donald
    Walter Frank Albert Arthur Ernest Frederick Harold Leonard Norman Ralph Roy Stanley Trevor Vincent Warren Bruce
    Barry Neil Nigel Geoffrey Hugh Angus Duncan Malcolm Ross Gordon Douglas Keith Clive Colin Darren Dean Derek Eric
    Gavin Glenn Grant Howard Jeremy Julian Justin Lawrence Lewis Marcus Mitchell Murray Oswald Owen Perry Reginald
    Rodney Roger Rupert Russell Sebastian Shane Shaun Spencer Terence Theodore Tobias Travis Tristan Victor Wayne Wesley
    Xavier Bradley Brett Brendan Curtis Dale Damian Elliot Felix Finn Hamish Isaac Jasper Kieran""",
    """Smith Jones Williams Brown Taylor Wilson Johnson Davies Thompson Walker White Roberts Robinson Wright Martin
    Harris Clarke Green Wood Hall Lewis Hill Jackson Cooper Turner Moore Anderson King Baker Ward Morris Watson Harrison
    Morgan Allen Young Mitchell James Lee Parker Bennett Price Cook Phillips Davis Carter Edwards Collins Evans Shaw
    Richardson Cox Marshall Simpson Bell Murphy Webb Rogers Gray Hughes Chapman Adams Ellis Wilkinson Foster Mills
    Palmer Knight Fisher Barnes Powell Lloyd Butler Russell Barker Stevens Jenkins Dixon Fletcher Hunt Harvey Rose
    Pearson Graham Howard Andrews Elliott Reynolds Ford Payne Fox Day Brooks West Lawrence Cole Bradley Atkinson Spencer
    Dawson Burton Watts Rice Wells Warren Lane Webster Porter Hart Nicholson Jordan Holmes Matthews Gibson Perry Newton
    Mason Hudson Sutton Lawson Carr Bishop Freeman Hayes Francis Barrett Sharp Cross Gilbert Hopkins Gardner Weaver
    Stone Saunders Burgess Bates Parsons Norris Long Osborne Chambers Nash Page Miles Fuller Garner Goodwin Wade Hardy
    Horton Bull Nolan Frost Steele Abbott Bird Sanders Potter Archer Whitehead Tyler Marsh Blake Swift Lamb Hicks Pope
    Thorne Peacock Whittaker Yates Skinner Bryant Sykes Faulkner Pritchard Rowe Vaughan Bowden Tranter Pascoe Trevithick
    Hobbs Larkin Quick Penrose Gough Merrick Nightingale Oakes Underhill Venables Wainwright Yeoman Zeller Attwood
    Bickford Cadwell Dearden Eddings Farrow Gosling Hepworth Inglis Jessop Kirkby Loveday Mumford Nettleton Ogden""",
)
_CELTIC = _origin(
    """Siobhan Aoife Niamh Ciara Fiona Eilidh Kirsty Mairi Bridget Maeve Roisin Sinead Catriona Morag Deirdre Orla
    Shona Ailsa Una Grainne Isobel Moira Nuala Rhiannon Sian Megan Cerys""",
    """Sean Liam Connor Patrick Declan Cormac Niall Ewan Hamish Callum Fergus Rory Brendan Aidan Eoin Padraig Donal
    Iain Alasdair Craig Gareth Rhys Dafydd Owain Finlay Lorcan Cian""",
    """Kelly O'Brien Ryan Murphy Campbell Stewart Macdonald Robertson O'Connor Walsh Sullivan Murray McCarthy Scott Reid
    Ross Kennedy Fraser Gallagher Doyle Byrne Quinn Hamilton O'Neill McKenzie Mackay Duncan Burns Fitzgerald Nolan
    Brennan McLean Cameron Sinclair Douglas Kerr McMahon O'Reilly Dunne Maguire Boyle Callaghan Donnelly Flanagan
    Gordon Hogan Keane Lynch McGrath McIntyre McLeod McNamara O'Sullivan O'Hara Paterson Rafferty Sheehan Tierney
    Urquhart Buchanan Carmichael Drummond Forsyth Galbraith Abernethy McAllister McPherson Ferguson Wallace""",
)
_ITALIAN = _origin(
    "Maria Giulia Francesca Anna Lucia Rosa Angela Carla Elena Paola Teresa Silvana Gina Daniela Concetta Antonella",
    "Giuseppe Antonio Marco Luca Francesco Mario Giovanni Salvatore Paolo Roberto Domenico Vincenzo Angelo Carlo Enzo",
    """Rossi Russo Ferrari Romano Esposito Bianchi Costa Greco Marino Conti Lombardi Moretti Rizzo Gallo Bruno Caruso
    De_Luca Mancini Barbieri Fontana Santoro Ferraro Rinaldi D'Angelo Palermo Carbone Di_Stefano Messina Vitale Sorrenti
    Pellegrino Calabrese Giordano Battaglia Catalano Fiorentino""",
)
_GREEK = _origin(
    "Maria Eleni Katerina Georgia Sofia Vasiliki Despina Athena Irene Anastasia Panagiota Dimitra Voula Stavroula",
    "George Dimitrios Konstantinos Nick Yiannis Christos Panagiotis Spiros Theodoros Stavros Andreas Peter Con Vasilis",
    """Papadopoulos Georgiou Nikolaidis Pappas Dimitriou Vlahos Karras Antoniou Christodoulou Ioannou Stavrou Kostas
    Theodorou Angelopoulos Katsaros Mavros Economou Petropoulos Alexiou Kyriakou Anagnostou Tsakiris""",
)
_GERMANIC = _origin(
    "Anna Ingrid Heidi Greta Karin Ursula Marieke Anneke Helga Sabine Birgit Astrid Monika Lena Johanna Saskia Femke",
    "Hans Klaus Jürgen Peter Stefan Dieter Jan Pieter Willem Lars Erik Anders Karl Otto Matthias Ruud Johan Günter",
    """Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Koch Bauer Klein Wolf Schröder Neumann
    De_Vries Van_Dijk Jansen Bakker Visser Van_den_Berg De_Boer Mulder Van_der_Merwe Botha Hansen Jensen Larsen Olsen
    Andersen Nielsen Lindqvist Svensson Kruger Zimmermann Hartmann Lange Vogel Keller Baumann Steyn""",
)
_SLAVIC = _origin(
    """Anna Katarzyna Natalia Elena Irina Olga Svetlana Magdalena Agnieszka Ivana Marija Milena Jana Zuzana Tatiana
    Oksana Vesna Dragana""",
    """Ivan Piotr Tomasz Marek Nikola Dragan Milan Zoran Andrei Dmitri Sergei Jan Pavel Josip Goran Stefan Krzysztof
    Vladimir Bogdan""",
    """Novak Kowalski Nowak Ivanov Horvat Jovanovic Petrovic Nikolic Kovac Wisniewski Wojcik Lewandowski Petrov Volkov
    Kuznetsov Markovic Babic Popov Svoboda Dvorak Shevchenko Bondarenko Zielinski Mazur Pavlovic Todorovic Dimitrov
    Georgiev Stankovic Kaminski Szymanski Kolar""",
)
_CHINESE = _origin(
    "Li Mei Xin Yan Jing Wei Hui Ling Fang Xiu Yi_Ting Amy Grace Vivian Jenny Mei_Ling Xiaoyan Yuki Shu_Fen Cindy",
    "Wei Jun Ming Hao Lei Jian Bo Tao Kevin Jason Eric Raymond Zhi_Wei Xiaoming Kai Peng Yong Chun_Hung Vincent Alan",
    """Wang Li Zhang Chen Liu Huang Zhao Wu Zhou Lin Chan Wong Lau Cheung Ng Leung Ho Yang Xu Sun Ma Zhu Hu Guo He Gao
    Tan Lim Goh Teo Chua Yeoh Kwok Tang Lai Cheng Yip Tsang Feng Deng Xie Cao Peng Zeng Xiao Tian Dong Pan Yuan""",
)
_VIETNAMESE = _origin(
    "Linh Thi_Hoa Mai Lan Thuy Huong Ngoc Phuong Anh Trang Kim Hanh Thanh Thu Van Hien Bich Tuyet",
    "Minh Tuan Hung Duc Quang Nam Anh Dung Thanh Long Van Khoa Hai Binh Phuc Tien Tam Huy",
    "Nguyen Tran Le Pham Huynh Hoang Phan Vu Vo Dang Bui Do Ho Ngo Duong Ly Truong Dinh Doan Luong Mai Cao",
)
_KOREAN = _origin(
    "Ji_Woo Seo_Yeon Min_Ji Soo_Jin Hye_Jin Eun_Ji Yuna Mi_Kyung Grace Young_Hee Su_Min Hana",
    "Min_Jun Ji_Hoon Sung_Min Jae_Hyun Dong_Hyun Young_Soo Daniel Joon Hyun_Woo Sang_Hoon Tae_Yang",
    "Kim Lee Park Choi Jung Kang Cho Yoon Jang Lim Han Oh Seo Shin Kwon Hwang Ahn Song Yoo Hong Moon Bae",
)
_INDIAN = _origin(
    """Priya Anjali Pooja Neha Deepa Kavita Sunita Lakshmi Aishwarya Divya Meera Nisha Shreya Radhika Swati Harpreet
    Simran Jasleen Gurpreet Aruna Rekha Geetha Shanthi Dilani Nimali Anika Tanvi""",
    """Raj Rahul Amit Arjun Sanjay Vijay Rohan Anil Suresh Ravi Harpreet Gurpreet Manpreet Ashok Vikram Krishna Deepak
    Nikhil Karthik Pradeep Rajesh Sandeep Jaspreet Balwinder Sunil Naveen Chaminda Ruwan Aditya Varun""",
    """Singh Patel Kumar Sharma Kaur Shah Gupta Reddy Das Rao Nair Joshi Mehta Iyer Desai Gill Verma Mishra Perera
    Fernando De_Silva Silva Jayawardena Chopra Kapoor Malhotra Bhatt Agarwal Pillai Menon Krishnan Subramaniam
    Chatterjee Banerjee Mukherjee Sandhu Dhillon Grewal Sidhu Thomas Mathew D'Souza Naidu Wijesinghe""",
)
_ARABIC = _origin(
    """Fatima Aisha Maryam Zainab Layla Noor Amina Khadija Yasmin Hana Sara Rania Samira Huda Salma Zahra Nadia Mariam
    Ayesha Farah""",
    """Mohammed Ahmed Ali Omar Hassan Ibrahim Yusuf Khalid Hussein Abdullah Mustafa Tariq Bilal Imran Karim Samir Hamza
    Faisal Mahmoud Rami Zain""",
    """Khan Ahmed Ali Hussain Hassan Ibrahim Malik Mohamed Rahman Iqbal Haddad Khoury Mansour Nasser Saleh Abbas Aziz
    Farah Hamdan Osman Saad Sheikh Qureshi Chaudhry Mirza Butt Akhtar Begum Hossain Uddin El-Sayed Al-Masri Yilmaz
    Kaya Demir Hosseini Ahmadi Karimi""",
)
_HISPANIC = _origin(
    """Maria Guadalupe Sofia Isabel Carmen Ana Gabriela Rosa Daniela Valentina Camila Elena Alejandra Lucia Patricia
    Mariana Beatriz Inês Ximena Maricel Rowena Marites""",
    """Jose Juan Luis Carlos Miguel Antonio Jesus Francisco Jorge Alejandro Pedro Diego Fernando Ricardo Manuel Javier
    Rafael José Joao Paulo Eduardo Jayson Rodel Andrés""",
    """Garcia Rodriguez Martinez Hernandez Lopez Gonzalez Perez Sanchez Ramirez Torres Flores Rivera Gomez Diaz Cruz
    Reyes Morales Ortiz Gutierrez Chavez Ramos Ruiz Santos Silva Ferreira Pereira Costa Oliveira Mendoza Castillo Vargas
    Jimenez Aquino Bautista Dela_Cruz Villanueva Ocampo Fernández Núñez Salazar Delgado Guerrero Espinoza Medina""",
)
_PACIFIC = _origin(
    "Aroha Mere Ngaire Kiri Hinemoa Sina Lupe Mele Ana Tui Marama Anahera Losa Salote Talia",
    "Tane Wiremu Hemi Rangi Sione Tevita Manu Viliami Semisi Mikaere Nikau Tamati Ioane Filipo Pita",
    """Ngata Tamihana Parata Walker Henare Rangihuna Tuala Faleolo Taufa Fifita Vaea Leota Tuilagi Mahe Latu Tupou
    Kereama Paki Waititi Tamatea Sopoaga Ioane Naisali Moana""",
)
_AFRICAN = _origin(
    "Grace Blessing Chioma Ngozi Amara Abena Akosua Wanjiru Thandiwe Nomsa Adaeze Fatou Zodwa Makena Esi Halima",
    "Emmanuel Chinedu Samuel Kwame Kofi Tunde Sipho Thabo Abdi Daniel Emeka Juma Kelechi Oluwaseun Peter Deng",
    """Okafor Mensah Adeyemi Ndlovu Osei Abdi Owusu Eze Mwangi Nkosi Dlamini Kamau Obi Balogun Asante Diallo Traore
    Moyo Okonkwo Boateng Banda Deng Tesfaye Bekele Achieng Otieno Nwosu Sithole""",
)

ORIGINS = (_ENGLISH, _CELTIC, _ITALIAN, _GREEK, _GERMANIC, _SLAVIC, _CHINESE, _VIETNAMESE, _KOREAN, _INDIAN, _ARABIC,
           _HISPANIC, _PACIFIC, _AFRICAN)  # fmt: skip
_BASE_WEIGHTS = (9.0, 2.5, 0.7, 0.4, 0.8, 0.5, 1.2, 0.6, 0.3, 1.2, 0.9, 1.5, 0.3, 0.5)

_STEMS = words(
    """Ash Black Brad Brom Caul Chad Clif Cran Dart El Fair Gold Hag Hather Hazel Hol Ing Kemp Lang Led Mar Med Nor Oak
    Pem Quar Rad Red Rush Sher Stan Swan Thorn Til Up Wal Wen Whit Win Wool"""
)
_ENDINGS = words(
    """ford ley ton well ham wood worth field stone bury more by croft den man combe shaw brook low gate"""
)


def origins(draw: Draw) -> Weighted[Origin]:
    """Draw how common each origin is in one population."""
    return Weighted(ORIGINS, [weight * draw.uniform(0.2, 1.8) for weight in _BASE_WEIGHTS])


def rare_surname(draw: Draw) -> str:
    """Compose an English-sounding surname: the long tail that no list holds."""
    return draw.pick(_STEMS) + draw.pick(_ENDINGS)


def surname(origin: Origin, draw: Draw) -> str:
    """Draw a surname of an origin, now and then a rare or a double one."""
    if origin in (_ENGLISH, _CELTIC) and draw.chance(0.3):
        return rare_surname(draw)
    name = origin.surnames.pick(draw)
    if draw.chance(0.015):
        return f"{name}-{_ENGLISH.surnames.pick(draw)}"
    return name


def given_name(origin: Origin, sex: str, draw: Draw) -> str:
    """Draw a given name of an origin; families of all origins also use English ones."""
    source = _ENGLISH if draw.chance(0.25) else origin
    return (source.female if sex == "F" else source.male).pick(draw)
